package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ask is a client of either engine: it sends a body and reads the answer.
type ask func(ctx context.Context, target string, body []byte) (int, error)

func (p *Pool) asker() ask {
	return func(ctx context.Context, target string, body []byte) (int, error) {
		res, err := p.RoundTrip(ctx, &Request{
			Method: "POST", Target: target, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		})
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		if res.Status != 200 {
			err = fmt.Errorf("status %d", res.Status)
		}
		return int(n), err
	}
}

func asker(tr http.RoundTripper) ask {
	return func(ctx context.Context, target string, body []byte) (int, error) {
		req, err := http.NewRequestWithContext(ctx, "POST", "https://api.test"+target, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		return int(n), err
	}
}

// sized answers with as many bytes as the path says, once it has read all.
func sized(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	n, _ := strconv.Atoi(r.URL.Path[1:])
	block := make([]byte, 64<<10)
	for n > 0 {
		k, err := w.Write(block[:min(n, len(block))])
		if err != nil {
			return
		}
		n -= k
	}
}

// Over a long path nothing takes more round trips than with the standard
// library's Transport. Time stands still while anybody works: what passes is
// the path's alone.
func TestALongPathCostsNoMoreThanWithTheTransport(t *testing.T) {
	const mib = 1 << 20
	for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
		for name, work := range map[string]func(t *testing.T, do ask){
			"first byte":     func(t *testing.T, do ask) { must(t, do, 1, 1) },
			"1 MiB down":     func(t *testing.T, do ask) { must(t, do, 0, mib) },
			"8 MiB down":     func(t *testing.T, do ask) { must(t, do, 0, 8*mib) },
			"32 MiB down":    func(t *testing.T, do ask) { must(t, do, 0, 32*mib) },
			"8 MiB up":       func(t *testing.T, do ask) { must(t, do, 8*mib, 1) },
			"a burst of 100": func(t *testing.T, do ask) { burst(t, do, 100, 10) },
			"two at 4 MiB":   func(t *testing.T, do ask) { burst(t, do, 2, 4*mib) },
		} {
			measure := func(of func(t *testing.T, f *far) ask) (took time.Duration) {
				synctest.Test(t, func(t *testing.T) {
					f := newFar(rtt)
					farAPI(t, f, &http.HTTP2Config{MaxConcurrentStreams: 250}, sized)
					do := of(t, f)
					must(t, do, 0, 1) // the connection stands
					time.Sleep(time.Second)
					start := time.Now()
					work(t, do)
					took = time.Since(start)
				})
				return took
			}
			ours := measure(func(t *testing.T, f *far) ask { return farPool(t, f).asker() })
			theirs := measure(func(t *testing.T, f *far) ask { return asker(farTransport(t, f)) })
			t.Logf("%v, %s: %v, the Transport %v", rtt, name, ours, theirs)
			if ours > theirs {
				t.Errorf("%v, %s: %.1f round trips, the Transport %.1f", rtt, name, float64(ours)/float64(rtt), float64(theirs)/float64(rtt))
			}
		}
	}
}

func must(t *testing.T, do ask, up, down int) {
	t.Helper()
	if n, err := do(t.Context(), fmt.Sprintf("/%d", down), make([]byte, up)); err != nil || n != down {
		t.Errorf("%d bytes came, %v; want %d", n, err, down)
	}
}

func burst(t *testing.T, do ask, n, down int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { must(t, do, 1, down) })
	}
	all.Wait()
}
