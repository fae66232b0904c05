package tailnet

import (
	"context"
	"time"
)

// The bus is reopened fast, so that a restarted tailscaled is seen at once: a
// dial to a dead Unix socket costs microseconds.
const (
	busRetryMin = 50 * time.Millisecond
	busRetryMax = 200 * time.Millisecond
)

// missesUntilUnreachable is how many pings in a row must fail.
const missesUntilUnreachable = 3

// watchBus keeps a subscription open and wakes the poll loop for whatever
// comes, and for its end.
func (a *Actor) watchBus(ctx context.Context) {
	retry := busRetryMin
	for ctx.Err() == nil {
		heard := false
		err := a.src.Watch(ctx, func(w Warnings) {
			heard = true
			if w != nil {
				a.warnings.Store(&w)
			}
			a.wakeUp()
		})
		if heard { // a failure to open is the poll's to report
			a.log.Debug().Str("event", "tailnet_bus_ended").Err(err).Msg("the bus of tailscaled ended; it is reopened")
			retry = busRetryMin
			a.wakeUp()
		}
		if !rest(ctx, retry) {
			return
		}
		retry = min(2*retry, busRetryMax)
	}
}

// pingPeer keeps a.unreachable true to its name. It pings only while connected,
// and never twice at a time because it is one loop.
func (a *Actor) pingPeer(ctx context.Context) {
	misses := 0
	for rest(ctx, a.cfg.PingInterval) {
		if !a.connected.Load() {
			misses = 0
		} else if err := a.ping(ctx); err != nil {
			misses++
			a.log.Info().Str("event", "tailnet_ping_missed").Str("peer", a.cfg.ReachabilityPeer).
				Int("misses", misses).Err(err).Msg("the reachability peer did not answer")
		} else {
			misses = 0
		}
		unreachable := misses >= missesUntilUnreachable
		if a.unreachable.Swap(unreachable) != unreachable {
			a.wakeUp()
		}
	}
}

func (a *Actor) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(10*time.Second, a.cfg.PingInterval))
	defer cancel()
	return a.src.Ping(ctx, a.cfg.ReachabilityPeer)
}

// rest sleeps and reports whether ctx still lives.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
