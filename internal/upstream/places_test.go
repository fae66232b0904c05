package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

const rtt = 50 * time.Millisecond

// in runs a test in a bubble, with a network of 50 ms.
func in(t *testing.T, test func(t *testing.T, f *far)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFar(rtt)) })
}

// With a limit far below the burst every request is answered, as with the
// Transport, and by no more connections than the limit makes necessary.
func TestABurstBeyondTheLimit(t *testing.T) {
	for _, tc := range []struct{ requests, limit, conns int }{{60, 10, 8}, {100, 10, 12}, {100, 1, 110}, {300, 100, 5}} {
		in(t, func(t *testing.T, f *far) {
			var now, most atomic.Int64
			farAPI(t, f, &http.HTTP2Config{MaxConcurrentStreams: tc.limit}, func(w http.ResponseWriter, r *http.Request) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer now.Add(-1)
				time.Sleep(time.Second)
				_, _ = io.WriteString(w, "fine")
			})
			p := farPool(t, f)
			start := time.Now()
			var all sync.WaitGroup
			for range tc.requests {
				all.Go(func() {
					if got, err := get(t.Context(), p, "/"); err != nil || got != "fine" {
						t.Errorf("%+v: %q, %v", tc, got, err)
					}
				})
			}
			all.Wait()
			if n := int(f.dials.Load()); n > tc.conns {
				t.Errorf("%+v: %d dials", tc, n)
			}
			t.Logf("%+v: %v, %d dials, %d at once", tc, time.Since(start), f.dials.Load(), most.Load())
		})
	}
}

// A connection carries one request until the API has said how many it allows.
func TestOnePlaceUntilTheSettingsCame(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		var early, late atomic.Int64
		farPeers(t, f, func(n int, p *peer) {
			count := &early
			var once sync.Once
			timer := time.AfterFunc(800*time.Millisecond, func() {
				once.Do(func() { p.mu.Lock(); count = &late; _ = p.WriteSettings(limit(50)); p.mu.Unlock() })
			})
			defer timer.Stop()
			for {
				id := p.request()
				if id == 0 {
					return
				}
				p.mu.Lock()
				count.Add(1)
				if count == &late {
					p.Answer(id, "fine")
				}
				p.mu.Unlock()
			}
		})
		p := farPool(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var answered atomic.Int64
		for range 40 {
			all.Go(func() {
				if _, err := get(ctx, p, "/"); err == nil {
					answered.Add(1)
				}
			})
		}
		time.Sleep(5 * time.Second)
		if early.Load() != 1 || late.Load() != 39 || answered.Load() != 39 || f.dials.Load() != 1 {
			t.Errorf("%d requests before the SETTINGS, %d after, %d answered, %d dials; want 1, 39, 39 and 1",
				early.Load(), late.Load(), answered.Load(), f.dials.Load())
		}
		cancel()
		all.Wait()
	})
}

// An API that allows no stream at all is waited for, and not besieged.
func TestALimitOfZero(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		open, most := 0, 0
		var mu sync.Mutex
		raise := make(chan struct{})
		farPeers(t, f, func(n int, p *peer) {
			mu.Lock()
			if open++; open > most {
				most = open
			}
			mu.Unlock()
			defer func() { mu.Lock(); open--; mu.Unlock() }()
			_ = p.WriteSettings(limit(0))
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				select {
				case <-raise:
					p.mu.Lock()
					_ = p.WriteSettings(limit(200))
					p.mu.Unlock()
				case <-stop:
				}
			}()
			for allowed := false; ; {
				id := p.request()
				if id == 0 {
					return
				}
				select {
				case <-raise:
					allowed = true
				default:
				}
				p.mu.Lock()
				if allowed {
					p.Answer(id, "fine")
				} else {
					_ = p.WriteRSTStream(id, http2.ErrCodeRefusedStream)
				}
				p.mu.Unlock()
			}
		})
		p := farPool(t, f)
		gone := errors.New("the client left")
		ctx, leave := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		var refused, left, fine atomic.Int64
		for i := range 100 {
			all.Go(func() {
				mine := ctx
				if i%2 == 0 {
					mine = t.Context()
				}
				for {
					got, err := get(mine, p, "/")
					var e *Error
					switch {
					case err == nil && got == "fine":
						fine.Add(1)
					case errors.As(err, &e) && e.Stage == Refused:
						refused.Add(1)
						continue
					case errors.Is(err, gone) && errors.As(err, &e) && e.Stage == Unsent:
						left.Add(1)
					default:
						t.Errorf("%q, %v", got, err)
					}
					return
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.dials.Load(); n > 16 || most > 3 {
			t.Errorf("%d dials in a minute and %d connections at once", n, most)
		}
		leave(gone)
		synctest.Wait()
		close(raise)
		all.Wait()
		if fine.Load() != 50 || left.Load() != 50 {
			t.Errorf("%d answered and %d left, want 50 and 50", fine.Load(), left.Load())
		}
		t.Logf("%d dials, %d at once, %d refused", f.dials.Load(), most, refused.Load())
	})
}

// Streams that are refused within the limit make the connection rest; nobody
// else's stream ends.
func TestRefusedStreamsAreNotForced(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		const room = 4
		var tries atomic.Int64
		farPeers(t, f, func(_ int, p *peer) {
			_ = p.WriteSettings(limit(100))
			open := 0
			for {
				id := p.request()
				if id == 0 {
					return
				}
				tries.Add(1)
				p.mu.Lock()
				if open == room {
					_ = p.WriteRSTStream(id, http2.ErrCodeRefusedStream)
				} else {
					open++
					time.AfterFunc(time.Second, func() { p.mu.Lock(); p.Answer(id, "fine"); open--; p.mu.Unlock() })
				}
				p.mu.Unlock()
			}
		})
		p := farPool(t, f)
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				for {
					got, err := get(t.Context(), p, "/")
					if err == nil && got == "fine" {
						return
					}
					var e *Error
					if !errors.As(err, &e) || e.Stage != Refused || e.Code != "REFUSED_STREAM" {
						t.Errorf("%q, %v", got, err)
						return
					}
				}
			})
		}
		all.Wait()
		if n := tries.Load(); n > 200 {
			t.Errorf("%d requests were sent for 40 answers", n)
		}
		t.Logf("%d requests sent, %d dials", tries.Load(), f.dials.Load())
	})
}

// A goodbye tells exactly what will be served; the rest is refused, not lost.
func TestGoAwayIsExact(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			if n > 1 {
				for id := p.request(); id != 0; id = p.request() {
					p.Answer(id, "new")
				}
				return
			}
			for range 3 {
				p.request()
			}
			_ = p.WriteGoAway(3, http2.ErrCodeEnhanceYourCalm, []byte("secret"))
			p.Answer(1, "old")
			time.Sleep(time.Second) // the stream 3 breaks with the connection
		})
		p := farPool(t, f)
		errs := make([]error, 3)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = get(t.Context(), p, "/") })
			time.Sleep(time.Second)
		}
		if got, err := get(t.Context(), p, "/"); err != nil || got != "new" {
			t.Errorf("after the goodbye: %q, %v", got, err)
		}
		all.Wait()
		if errs[0] != nil {
			t.Errorf("stream 1: %v", errs[0])
		}
		outcome(t, "stream 3", errs[1], Sent, "ENHANCE_YOUR_CALM")
		outcome(t, "stream 5", errs[2], Refused, "ENHANCE_YOUR_CALM")
	})
}

// A path that dies without a word is found within 20 s, whoever goes on beside
// it, and gets no request while it is in doubt.
func TestASilentDeath(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			p.Mute = n == 1
			for id := p.request(); id != 0; id = p.request() {
				if n > 1 {
					p.Answer(id, fmt.Sprint(n))
				}
			}
		})
		p := farPool(t, f)
		start := time.Now()
		dead := make(chan time.Duration, 1)
		go func() {
			_, err := get(t.Context(), p, "/")
			outcome(t, "on the dead path", err, Sent, NoCode)
			dead <- time.Since(start)
		}()
		time.Sleep(quietTime + time.Second) // the ping is out
		for range 5 {
			if got, err := get(t.Context(), p, "/"); err != nil || got != "2" {
				t.Errorf("while the path is in doubt: %q, %v", got, err)
			}
			time.Sleep(time.Second)
		}
		if took := <-dead; took > 20*time.Second {
			t.Errorf("found after %v", took)
		}
	})
}

// An idle path that died is found out before it is used.
func TestAnIdleConnectionIsKnownToLive(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			for id := p.request(); id != 0; id = p.request() {
				p.Answer(id, fmt.Sprint(n))
				p.Mute = n == 1
			}
		})
		p := farPool(t, f)
		for i, want := range []string{"1", "2"} {
			if got, err := get(t.Context(), p, "/"); err != nil || got != want {
				t.Errorf("request %d: %q, %v; want connection %s", i, got, err, want)
			}
			time.Sleep(20 * time.Second)
		}
		if v := p.View(); len(v.Connections) != 1 || v.Connections[0].RTT != rtt {
			t.Errorf("view %+v, want one connection of %v", v, rtt)
		}
	})
}

// The last stream identifier is used once.
func TestTheLastStreamIdentifier(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		var mu sync.Mutex
		seen := map[string]int{}
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			for id := p.request(); id != 0; id = p.request() {
				mu.Lock()
				seen[fmt.Sprint(n, "/", id)]++
				mu.Unlock()
				p.Answer(id, "fine")
			}
		})
		p := farPool(t, f)
		if _, err := get(t.Context(), p, "/"); err != nil {
			t.Fatal(err)
		}
		c := p.shared[0]
		c.mu.Lock()
		c.nextID = lastStreamID - 2
		c.mu.Unlock()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if got, err := get(t.Context(), p, "/"); err != nil || got != "fine" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		all.Wait()
		if len(seen) != 11 || seen["1/2147483645"] != 1 || seen["1/2147483647"] != 1 {
			t.Errorf("streams %v", seen)
		}
	})
}

// A connection that has aged makes way for a successor, and nobody waits for
// that.
func TestConnectionsAge(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farAPI(t, f, nil, sized)
		p := farPool(t, f)
		for end := time.Now().Add(3 * maxAge); time.Now().Before(end); time.Sleep(time.Minute) {
			start := time.Now()
			if _, err := get(t.Context(), p, "/1"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > rtt && f.dials.Load() > 1 {
				t.Errorf("a request took %v", took)
			}
		}
		if n := f.dials.Load(); n != 3 && n != 4 {
			t.Errorf("%d connections in %v", n, 3*maxAge)
		}
		time.Sleep(time.Second)
		if _, h2 := p.Connections(); h2 != 1 {
			t.Errorf("%d connections are left", h2)
		}
	})
}

// A connection on which an upload got stuck is not used again, however lively
// its pings are.
func TestAShutConnectionIsRetired(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			for {
				switch fr := p.Next().(type) {
				case nil:
					return
				case *http2.MetaHeadersFrame:
					if fr.StreamEnded() {
						p.Answer(fr.StreamID, fmt.Sprint(n))
					} else if n > 1 {
						_ = p.WriteWindowUpdate(0, 1<<30)
						_ = p.WriteWindowUpdate(fr.StreamID, 1<<30)
						p.Answer(fr.StreamID, fmt.Sprint(n))
					}
				}
			}
		})
		p := farPool(t, f)
		stalled := errors.New("the API stopped reading")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stalled) })
		_, err := p.RoundTrip(ctx, post(p, endless()))
		if !errors.Is(err, stalled) {
			t.Fatal(err)
		}
		if got, err := get(t.Context(), p, "/"); err != nil || got != "2" {
			t.Errorf("then %q, %v; want a fresh connection", got, err)
		}
		if _, h2 := p.Connections(); h2 != 1 {
			t.Errorf("%d connections", h2)
		}
	})
}

// While an upload keeps the connection's window shut, others go elsewhere.
func TestAShutWindowStallsNobodyElse(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(n int, p *peer) {
			_ = p.WriteSettings(limit(100))
			for {
				switch fr := p.Next().(type) {
				case nil:
					return
				case *http2.DataFrame:
					if fr.StreamEnded() {
						p.Answer(fr.StreamID, fmt.Sprint(n))
					}
				}
			}
		})
		p := farPool(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _, _ = p.RoundTrip(ctx, post(p, endless())) }()
		time.Sleep(shutPatience + time.Second)
		res, err := p.RoundTrip(t.Context(), post(p, io.LimitReader(zeros{}, 1000)))
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "2" {
			t.Errorf("served by connection %s", body)
		}
		cancel()
		<-done
	})
}

// Nobody besieges an API that is down: dials are shared and spaced, and all who
// wait hear of it.
func TestAnAPIThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		f := newFar(0)
		p := farPool(t, f)
		p.connect.dial = func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			time.Sleep(time.Millisecond)
			return nil, errors.New("connection refused")
		}
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				for range 3 {
					start := time.Now()
					_, err := get(t.Context(), p, "/")
					var e *Error
					if !errors.As(err, &e) || !e.Dial || e.Stage != Unsent {
						t.Errorf("%v", err)
					}
					if took := time.Since(start); took > 3*time.Second {
						t.Errorf("it took %v to say so", took)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		if n := dials.Load(); n > 30 {
			t.Errorf("%d dials for 1,500 attempts", n)
		}
		t.Logf("%d dials", dials.Load())
	})
}
