package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

// frames turns bytes into frames that are mostly well-formed: a type, flags, a
// stream, a length and so many bytes.
func frames(script []byte) []byte {
	var out bytes.Buffer
	fr := http2.NewFramer(&out, nil)
	_ = fr.WriteSettings()
	for len(script) >= 4 {
		n := min(int(script[3]), len(script)-4)
		_ = fr.WriteRawFrame(http2.FrameType(script[0]%11), http2.Flags(script[1]), uint32(script[2]%8), script[4:4+n])
		script = script[4+n:]
	}
	return out.Bytes()
}

func seed(parts ...any) []byte {
	var out []byte
	for i := 0; i < len(parts); i += 2 {
		head, payload := parts[i].([3]byte), parts[i+1].([]byte)
		out = append(append(append(out, head[:]...), byte(len(payload))), payload...)
	}
	return out
}

// Whatever frames the API sends, requests end, and so does the connection.
func FuzzHTTP2Answer(f *testing.F) {
	const data, headers, rst, settings, goAway, window = 0, 1, 3, 4, 7, 8
	ok := testkit.HeaderBlock(":status", "200", "content-length", "4")
	f.Add(seed([3]byte{headers, 4, 1}, ok, [3]byte{data, 1, 1}, []byte("fine")))
	f.Add(seed([3]byte{headers, 4, 1}, testkit.HeaderBlock(":status", "103"), [3]byte{headers, 5, 1}, testkit.HeaderBlock(":status", "204")))
	f.Add(seed([3]byte{headers, 4, 1}, ok, [3]byte{headers, 5, 1}, testkit.HeaderBlock("x-trailer", "1")))
	f.Add(seed([3]byte{rst, 0, 1}, []byte{0, 0, 0, 7}))
	f.Add(seed([3]byte{goAway, 0, 0}, make([]byte, 8)))
	f.Add(seed([3]byte{settings, 0, 0}, []byte{0, 4, 0, 0, 0, 0}, [3]byte{window, 0, 1}, []byte{0, 0, 0xff, 0xff}))
	f.Add(seed([3]byte{settings, 0, 0}, []byte{0, 3, 0, 0, 0, 0}, [3]byte{headers, 4, 3}, ok))
	f.Add(seed([3]byte{headers, 4, 1}, ok, [3]byte{data, 9, 1}, append([]byte{3}, "finepad"...)))
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	config := &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}}
	lender.Close()
	f.Fuzz(func(t *testing.T, script []byte) {
		var all sync.WaitGroup
		p := New(&url.URL{Scheme: "https", Host: "api.test"}, Options{
			TLS: &tls.Config{InsecureSkipVerify: true},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				all.Go(func() {
					defer theirs.Close()
					c := tls.Server(theirs, config)
					if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
						return
					}
					fr := http2.NewFramer(c, c)
					for {
						frame, err := fr.ReadFrame()
						if err != nil {
							return
						}
						if _, ok := frame.(*http2.HeadersFrame); ok {
							break
						}
					}
					var reading sync.WaitGroup
					reading.Go(func() { _, _ = io.Copy(io.Discard, c) })
					_, _ = c.Write(frames(script))
					_ = c.Close()
					_ = theirs.Close()
					reading.Wait()
				})
				return ours, nil
			},
		})
		defer all.Wait()
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		body := bytes.Repeat([]byte("b"), 100)
		res, err := p.RoundTrip(ctx, &Request{
			Method: "POST", Target: "/", ContentLength: int64(len(body)),
			Body: io.NopCloser(bytes.NewReader(body)), Whole: true,
		})
		if err == nil {
			if res.Status < 200 || res.Status > 999 {
				t.Errorf("status %d", res.Status)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		if ctx.Err() != nil {
			t.Errorf("%x: it hangs", script)
		}
	})
}
