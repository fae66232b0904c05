package clients

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// What the status page costs a stream while it is looked at by as many as may,
// with 5,000 streams in flight: the pauses between the events of one more, in
// rounds with and without viewers. It prints them; a machine that others use
// says little with one number.
func TestThePageCostsNoChunk(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("a measurement: SOAK=1 runs it")
	}
	const streams, rounds = 5000, 6
	p := start(t, sim.Options{Protocol: sim.Plain}, harness.Options{Proxy: "max_connections = 6000"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var opening sync.WaitGroup
	for range 100 {
		opening.Go(func() {
			for range streams / 100 {
				res, err := p.send(ctx, sim.Plan{Deltas: 1, Hold: true}, streamRequest)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { res.Body.Close() })
			}
		})
	}
	opening.Wait()
	all := map[bool][]time.Duration{}
	for round := range rounds {
		looked := round%2 == 1
		watching, stop := context.WithCancel(ctx)
		var viewers sync.WaitGroup
		if looked {
			for range status.MostViewers {
				viewers.Go(func() { watch(watching, p.proxy.Admin) })
			}
		}
		all[looked] = append(all[looked], gaps(t, p)...)
		stop()
		viewers.Wait()
	}
	for _, looked := range []bool{false, true} {
		g := all[looked]
		slices.Sort(g)
		t.Logf("viewers %t: of %d pauses of 2 ms, the median is %v, p99 %v, p99.9 %v, the longest %v",
			looked, len(g), g[len(g)/2], g[len(g)*99/100], g[len(g)*999/1000], g[len(g)-1])
	}
	cancel()
}

func watch(ctx context.Context, admin string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/events", nil)
	if err != nil {
		return
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
}

// gaps are the pauses between the events of a stream.
func gaps(t *testing.T, p *pair) (all []time.Duration) {
	t.Helper()
	res := p.post(t, t.Context(), sim.Plan{Deltas: 2000, Delay: 2 * time.Millisecond}, streamRequest)
	events := bufio.NewReader(res.Body)
	for last := time.Now(); ; {
		if _, err := readEvent(events); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		all = append(all, now.Sub(last))
		last = now
	}
}
