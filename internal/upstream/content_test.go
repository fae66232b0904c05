package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"anthropic-oauth-proxy/internal/headers"
)

// Whichever way content is sent, the API gets all of it, and its trailer where
// the protocol has a place for one.
func TestAllContentArrives(t *testing.T) {
	type told struct {
		body    string
		length  int64
		trailer string
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, http2 := range []bool{false, true} {
		got := make(chan told, 1)
		p := api(t, http2, func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- told{string(body), r.ContentLength, r.Trailer.Get("X-Sum")}
		})
		// Within a record, over what goes out inline, over the first windows.
		for _, size := range []int{0, 10, inlineBody + 1, 300 << 10} {
			body := bytes.Repeat([]byte("b"), size)
			for _, whole := range []bool{true, false} {
				for _, known := range []bool{true, false} {
					for _, trailer := range []bool{true, false} {
						req := &Request{Method: "POST", Target: "/", Body: io.NopCloser(bytes.NewReader(body)), Whole: whole, ContentLength: -1}
						want := told{body: string(body), length: -1}
						if known {
							req.ContentLength, want.length = int64(size), int64(size)
						}
						if trailer {
							req.Trailer = &headers.Trailer{Names: []string{"x-SUM"}, Fields: headers.Fields{{Name: "X-Sum", Value: "7"}}}
						}
						if trailer && (http2 || !known) { // RFC 9112 7.1.2: chunked content only
							want.trailer = "7"
						}
						what := fmt.Sprintf("http2=%v, %d bytes, whole=%v, known=%v, trailer=%v", http2, size, whole, known, trailer)
						res, err := p.RoundTrip(ctx, req)
						if err != nil {
							t.Fatal(what, err)
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
						if g := <-got; g != want {
							t.Errorf("%s: the API got %d bytes, length %d, trailer %q; want length %d, trailer %q", what, len(g.body), g.length, g.trailer, want.length, want.trailer)
						}
					}
				}
			}
		}
	}
}
