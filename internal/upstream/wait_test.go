package upstream

import (
	"context"
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// told counts the news.
type told struct{ news chan struct{} }

func (w told) News() { w.news <- struct{}{} }

// A body that is waited for tells once of what comes: content, the end, every
// kind of failure, and Wake; and not at all when there is something already.
func TestStandingBodies(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(p *peer, id uint32, pool *Pool, body Standing)
		content string
		failed  bool
	}{
		"content":    {happens: func(p *peer, id uint32, _ *Pool, _ Standing) { _ = p.WriteData(id, false, []byte("more")) }, content: "more"},
		"last word":  {happens: func(p *peer, id uint32, _ *Pool, _ Standing) { _ = p.WriteData(id, true, []byte("more")) }, content: "more"},
		"end":        {happens: func(p *peer, id uint32, _ *Pool, _ Standing) { _ = p.WriteData(id, true, nil) }},
		"reset":      {happens: func(p *peer, id uint32, _ *Pool, _ Standing) { _ = p.WriteRSTStream(id, http2.ErrCodeInternal) }, failed: true},
		"connection": {happens: func(p *peer, _ uint32, _ *Pool, _ Standing) { _ = p.Conn.Close() }, failed: true},
		"close":      {happens: func(_ *peer, _ uint32, pool *Pool, _ Standing) { pool.Close() }, failed: true},
		"wake":       {happens: func(_ *peer, _ uint32, _ *Pool, body Standing) { body.Wake() }, content: "-"},
	} {
		in(t, func(t *testing.T, f *far) {
			answered := make(chan *peer, 1)
			ids := make(chan uint32, 1)
			farPeers(t, f, func(_ int, p *peer) {
				_ = p.WriteSettings(limit(100))
				id := p.request()
				p.Head(id, false, ":status", "200")
				ids <- id
				answered <- p
				p.Drain()
			})
			pool := farPool(t, f)
			res, err := pool.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body := res.Body.(Standing)
			w := told{make(chan struct{}, 2)}
			if !body.Wait(w) {
				t.Fatal(name, ": Wait says that there is news")
			}
			tc.happens(<-answered, <-ids, pool, body)
			<-w.news
			got := make([]byte, 100)
			n := body.TryRead(got)
			if want := tc.content; want != "-" && string(got[:n]) != want || want == "-" && n > 0 {
				t.Errorf("%s: TryRead got %q, want %q", name, got[:n], want)
			}
			if name == "content" || name == "wake" {
				if !body.Wait(w) {
					t.Error(name, ": Wait says that there is more news")
				}
				return
			}
			if body.Wait(w) {
				t.Error(name, ": Wait waits behind the end")
			}
			if _, err := body.Read(got); (err == io.EOF) == tc.failed {
				t.Errorf("%s: Read ends with %v", name, err)
			}
			if len(w.news) > 0 {
				t.Error(name, ": it was told twice")
			}
		})
	}
}

// Who gave up before Wait is not left waiting.
func TestNobodyWaitsBehindTheEndOfAContext(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(_ int, p *peer) {
			_ = p.WriteSettings(limit(100))
			p.Head(p.request(), false, ":status", "200")
			p.Drain()
		})
		ctx, cancel := context.WithCancel(t.Context())
		res, err := farPool(t, f).RoundTrip(ctx, &Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		cancel()
		if res.Body.(Standing).Wait(told{make(chan struct{}, 1)}) {
			t.Error("it waits for ever")
		}
	})
}
