package upstream

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// Readers that do not come hold up nobody, and what the process holds for them
// is bounded, however much the API would send.
func TestStalledReadersAreBounded(t *testing.T) {
	const stalled = 220
	in(t, func(t *testing.T, f *far) {
		farAPI(t, f, &http.HTTP2Config{MaxConcurrentStreams: 250}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/flood" {
				sized(w, r)
				return
			}
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		})
		p := farPool(t, f)
		var open []io.Closer
		var most int64
		for range stalled {
			res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/flood"})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, res.Body)
			most = max(most, p.budget.held.Load())
		}
		time.Sleep(time.Minute)
		if _, h2 := p.Connections(); h2 != 1 {
			t.Errorf("%d connections", h2)
		}
		held := p.budget.held.Load()
		bound := int64(straits[len(straits)-1].above + stalled*straits[len(straits)-1].window + 4*freshWindow)
		if held = max(held, most); held > bound {
			t.Errorf("%d MiB are held, want at most %d", held>>20, bound>>20)
		}
		start := time.Now()
		must(t, p.asker(), 1, 48<<10)
		if took := time.Since(start); took > rtt {
			t.Errorf("beside them a request took %v", took)
		}
		t.Logf("%d MiB held for %d", held>>20, stalled)
		for _, c := range open {
			_ = c.Close()
		}
		if n := p.budget.held.Load(); n != 0 {
			t.Errorf("%d bytes are lost", n)
		}
		time.Sleep(time.Second)
		must(t, p.asker(), 1, 1) // the windows widen with what comes next
		must(t, p.asker(), 1, 1)
		must(t, p.asker(), 1, 1)
		time.Sleep(time.Second)
		start = time.Now()
		must(t, p.asker(), 1, freshWindow)
		if took := time.Since(start); took > rtt {
			t.Errorf("afterwards %d MiB took %v", freshWindow>>20, took)
		}
	})
}

// A window that was taken back while the API was sending is no error of its.
func TestWindowsAreTakenBackInOrder(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		var mu sync.Mutex
		var announced []uint32
		farPeers(t, f, func(_ int, p *peer) {
			_ = p.WriteSettings(limit(100))
			id := p.request()
			p.Head(id, false, ":status", "200")
			for range freshWindow / defaultFrame { // all that was granted
				_ = p.WriteData(id, false, make([]byte, defaultFrame))
			}
			for {
				fr, err := p.ReadFrame()
				if err != nil {
					return
				}
				if s, ok := fr.(*http2.SettingsFrame); ok && !s.IsAck() {
					v, _ := s.Value(http2.SettingInitialWindowSize)
					mu.Lock()
					announced = append(announced, v)
					mu.Unlock()
					_ = p.WriteSettingsAck()
				}
				if r, ok := fr.(*http2.RSTStreamFrame); ok && r.ErrCode != http2.ErrCodeCancel {
					t.Errorf("the stream was reset: %v", r.ErrCode)
				}
			}
		})
		p := farPool(t, f)
		p.budget.take(100 << 20) // somewhere else in the process
		p.budget.take(1)
		p.budget.take(1)
		p.budget.level.Store(0) // the connection opens before that is known
		res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		got, err := io.ReadFull(res.Body, make([]byte, freshWindow))
		if err != nil || got != freshWindow {
			t.Errorf("%d bytes, %v", got, err)
		}
		p.budget.give(100<<20 + 2)
		mu.Lock()
		defer mu.Unlock()
		if len(announced) == 0 || announced[len(announced)-1] >= freshWindow {
			t.Errorf("announced %v", announced)
		}
		_ = res.Body.Close()
	})
}

// A window stays as it is for a reader that waits, and grows for one that keeps
// up.
func TestWindowsGrowForThoseWhoKeepUp(t *testing.T) {
	for _, slow := range []bool{false, true} {
		in(t, func(t *testing.T, f *far) {
			farAPI(t, f, nil, sized)
			p := farPool(t, f)
			res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/50000000"})
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			s := (*h2Stream)(res.Body.(*h2Body))
			buf := make([]byte, 64<<10)
			for range 500 {
				if _, err := io.ReadFull(res.Body, buf); err != nil {
					t.Fatal(err)
				}
				if slow {
					time.Sleep(rtt)
				}
			}
			s.conn.mu.Lock()
			size := s.receive.size
			s.conn.mu.Unlock()
			if want := map[bool]int{false: mostGrown, true: freshWindow}[slow]; size != want {
				t.Errorf("slow=%v: the window is %d, want %d", slow, size, want)
			}
		})
	}
}

// What was put in comes out, in whatever pieces, and nothing stays borrowed.
func TestTheInbox(t *testing.T) {
	var b inbox
	var want, got []byte
	piece := make([]byte, 40<<10)
	for i := range 500 {
		n := i * 7919 % len(piece)
		if i%3 == 0 {
			n %= 300
		}
		for j := range piece[:n] {
			piece[j] = byte(i + j)
		}
		b.put(piece[:n])
		want = append(want, piece[:n]...)
		take := make([]byte, i*104729%(50<<10))
		got = append(got, take[:b.take(take)]...)
		if b.size != len(want)-len(got) {
			t.Fatalf("size %d, want %d", b.size, len(want)-len(got))
		}
	}
	rest := make([]byte, b.size)
	got = append(got, rest[:b.take(rest)]...)
	if !bytes.Equal(got, want) || b.size != 0 || len(b.chunks) > 1 {
		t.Errorf("%d of %d bytes, %d left in %d chunks", len(got), len(want), b.size, len(b.chunks))
	}
	b.put(make([]byte, 100))
	if b.clear() != 100 || b.size != 0 {
		t.Error("clear does not clear")
	}
}

// An answer to a HEAD, a 204 and a 304 are whole at their heads, whatever the
// server sends behind.
func TestAnAnswerWithoutContentIsWholeAtItsHead(t *testing.T) {
	for _, tc := range []struct{ method, status string }{{"HEAD", "200"}, {"GET", "204"}, {"GET", "304"}} {
		in(t, func(t *testing.T, f *far) {
			farPeers(t, f, func(_ int, p *peer) {
				_ = p.WriteSettings(limit(100))
				for id := p.request(); id != 0; id = p.request() {
					p.Head(id, false, ":status", tc.status, "content-length", "5", "x-head", "yes")
					_ = p.WriteData(id, false, []byte("deno "))
					_ = p.WriteData(id, true, []byte("does so"))
				}
			})
			p := farPool(t, f)
			for range 3 {
				res, err := p.RoundTrip(t.Context(), &Request{Method: tc.method, Target: "/"})
				if err != nil {
					t.Fatalf("%v: %v", tc, err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || len(body) != 0 || res.Header.Get("X-Head") != "yes" || res.ContentLength != 5 {
					t.Errorf("%v: %q, %v, %v", tc, body, err, res)
				}
				synctest.Wait()
			}
			if n := f.dials.Load(); n != 1 {
				t.Errorf("%v: %d connections", tc, n)
			}
		})
	}
}
