package tailnet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// An observer samples health every few milliseconds and keeps the changes.
type observer struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	changes []string
	lost    bool
}

func observe(ctx context.Context, l *lab.Lab) *observer {
	ctx, cancel := context.WithCancel(ctx)
	o := &observer{cancel: cancel}
	began := time.Now()
	o.wg.Go(func() {
		for last := ""; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			h, err := l.Proxy.Health(ctx)
			if err != nil {
				continue
			}
			if now := fmt.Sprintf("%d %s %s %v", h.Code, h.Tailnet, h.Reason, h.Impaired); now != last {
				last = now
				o.mu.Lock()
				o.changes = append(o.changes, fmt.Sprintf("%6d ms  %s", time.Since(began).Milliseconds(), now))
				o.lost = o.lost || !h.Connected()
				o.mu.Unlock()
			}
		}
	})
	return o
}

func (o *observer) stop() {
	o.cancel()
	o.wg.Wait()
}

// wasLost reports whether health ever said that the tailnet is not connected.
func (o *observer) wasLost() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

func (o *observer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return "health over time:\n" + strings.Join(o.changes, "\n")
}
