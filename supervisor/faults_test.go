package supervisor

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit/tailscaled"
	"anthropic-oauth-proxy/messages"
)

// The product's promise: any actor may panic at any time, and no client can
// tell. SOAK=1 makes it 50 rounds, -short three.
func TestNoPanicOfAnActorIsNoticed(t *testing.T) {
	const streams = 200
	rounds := 6
	switch {
	case os.Getenv("SOAK") != "":
		rounds = 50
	case testing.Short():
		rounds = 3
	}
	api := newTicker(t, 100*time.Millisecond)
	s := start(t, setting{
		upstream: api.URL, socket: tailscaled.New(t, "Running").Socket,
		tailnet: "poll_interval_secs = 10", proxy: "max_connections = 400",
	})
	audience := s.gather(api, streams)
	newcomers := s.keepKnocking()

	services := []string{"conductor", "drain", "listener", "tailnet", "metrics", "port"}
	for round := range rounds {
		for _, name := range services {
			if !s.actors[name].failAndReturn(byPanic) {
				t.Fatalf("round %d: %s did not come back", round, name)
			}
		}
	}
	s.await(messages.Running)
	if n := audience.broken.Load(); n > 0 {
		t.Errorf("%d streams broke during the panics", n)
	}
	for _, name := range services {
		if got := s.restarts(name, byPanic); got != float64(rounds) {
			t.Errorf("%s: %v restarts by panic are counted, want %d", name, got, rounds)
		}
		if n := s.restarts(name, byError) + s.restarts(name, byReturn); n != 0 {
			t.Errorf("%s: %v restarts have another reason", name, n)
		}
	}
	if got := s.log.count("service_panic"); got != rounds*len(services) {
		t.Errorf("%d panics are logged, want %d", got, rounds*len(services))
	}

	sent := api.events.Load()
	s.eventually("the streams go on", func() bool { return api.events.Load() > sent+streams })
	close(api.finish)
	audience.done.Wait()
	knocks := newcomers()
	t.Logf("%d rounds, %d streams, %d events, %d new connections; broken: %d", rounds, streams, api.events.Load(), knocks, audience.broken.Load())
	// A request is counted after its client has read the end.
	s.eventually("every stream is counted as completed", func() bool {
		return s.metric(`proxy_outcomes_total{outcome="completed"}`) == float64(streams)
	})
}

// keepKnocking asks for /health on one new connection after another, on both
// ports, until the returned function is called. Each must be answered: a dial
// during a restart waits.
func (s *stage) keepKnocking() (stop func() int64) {
	over := make(chan struct{})
	var knocking sync.WaitGroup
	var knocks atomic.Int64
	for _, addr := range []string{s.edge, s.admin} {
		knocking.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond): // a client, not a flood
				}
				// Healthy or not is another question: on a busy machine the
				// watcher may find tailscaled slow.
				if _, body, err := get("http://" + addr + "/health"); err != nil || !strings.Contains(body, `"uptime_seconds"`) {
					s.t.Errorf("a new connection to %s: %q %v", addr, body, err)
					return
				}
				knocks.Add(1)
			}
		})
	}
	return func() int64 {
		close(over)
		knocking.Wait()
		return knocks.Load()
	}
}
