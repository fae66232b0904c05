package tailnet

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	watcher "anthropic-oauth-proxy/actors/tailnet"
	"anthropic-oauth-proxy/messages"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

// The watcher runs in this process here: the service pings once a minute, and
// three misses of that would outlast everything else.
func TestReachabilityPing(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	src := source(t, l)
	seen := &newest{}
	cfg := watcher.Config{PollInterval: pollInterval, ReachabilityPeer: lab.CallerName, PingInterval: time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = watcher.New(seen, src, cfg, zerolog.Nop()).Serve(ctx) })

	for range 3 {
		if err := src.Ping(within(t, ctx, 5*time.Second), lab.CallerName); err != nil {
			t.Fatalf("ping the caller: %v", err)
		}
	}
	time.Sleep(3 * time.Second)
	if s := seen.get(); s.Link != messages.LinkConnected || len(s.Impaired) != 0 {
		t.Fatalf("with a peer that answers: %q %q", s.Link, s.Impaired)
	}
	l.Caller.Leave()
	gone := time.Now()
	await(t, within(t, ctx, 15*time.Second), "three misses", func() bool {
		return slices.Contains(seen.get().Impaired, messages.ImpairedUnreachable)
	})
	if s := seen.get(); s.Link != messages.LinkConnected {
		t.Errorf("an unreachable peer made the tailnet %q", s.Link)
	}
	t.Logf("unreachable %v after the peer left", time.Since(gone).Round(time.Millisecond))
	if err := l.StartCaller(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, within(t, ctx, 20*time.Second), "one answer", func() bool { return len(seen.get().Impaired) == 0 })
}

// source asks the lab's daemon as the service does.
func source(t *testing.T, l *lab.Lab) *watcher.LocalAPI {
	t.Helper()
	src := watcher.NewLocalAPI(l.Sidecar.Socket())
	t.Cleanup(src.Close)
	return src
}

// newest keeps the last observation.
type newest struct {
	mu sync.Mutex
	s  messages.TailnetStatus
}

func (n *newest) Send(_ context.Context, ev messages.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.s = ev.(messages.TailnetObserved).Status
	return nil
}

func (n *newest) get() messages.TailnetStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.s
}
