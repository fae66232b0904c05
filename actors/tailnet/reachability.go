package tailnet

import (
	"context"
	"time"
)

// missesUntilUnreachable is how many pings in a row must fail.
const missesUntilUnreachable = 3

// maxPing is how long a peer may take to answer.
const maxPing = 10 * time.Second

// pingPeer keeps a.unreachable true to its name. It pings only while connected,
// and never twice at a time because it is one loop.
func (a *Actor) pingPeer(ctx context.Context) {
	misses := 0
	for rest(ctx, a.cfg.PingInterval) {
		if !a.connected.Load() {
			misses = 0
		} else if asked, err := a.ping(ctx); err == nil {
			misses = 0
		} else if !a.stalled(asked, a.pingPatience()) {
			misses++
			a.log.Info().Str("event", "tailnet_ping_missed").Str("peer", a.cfg.ReachabilityPeer).
				Int("misses", misses).Str("error", tidy(err.Error())).Msg("the reachability peer did not answer")
		}
		unreachable := misses >= missesUntilUnreachable
		if a.unreachable.Swap(unreachable) != unreachable {
			a.wakeUp()
		}
	}
}

func (a *Actor) ping(ctx context.Context) (asked time.Time, err error) {
	asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, a.pingPatience())
	defer cancel()
	return asked, a.src.Ping(ctx, a.cfg.ReachabilityPeer)
}

func (a *Actor) pingPatience() time.Duration { return min(maxPing, a.cfg.PingInterval) }

// rest sleeps and reports whether ctx still lives.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
