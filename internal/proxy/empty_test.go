package proxy

import (
	"io"
	"testing"

	"anthropic-oauth-proxy/internal/testkit"
)

// An answer whose length nobody told, and which turns out to be empty, is a whole
// answer of no content to every client.
func TestAnEmptyAnswerOfUnknownLength(t *testing.T) {
	r := newRig(t, h2scripted(t, func(_ int, p *testkit.Peer) {
		for req, ok := p.Request(); ok; req, ok = p.Request() {
			p.Head(req.ID, false, ":status", "200")
			_ = p.WriteData(req.ID, true, nil)
		}
	}))
	for _, http1 := range []bool{true, false} {
		for range 20 {
			res, err := r.client(http1).Get(r.url("/"))
			if err != nil {
				t.Fatalf("http1=%v: %v", http1, err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || len(body) != 0 || res.StatusCode != 200 {
				t.Errorf("http1=%v: status %d, %q, %v", http1, res.StatusCode, body, err)
			}
		}
	}
}
