package tailnet

import (
	"context"
	"time"

	"anthropic-oauth-proxy/messages"
)

// The bus is reopened fast after a death, so that a restarted tailscaled is
// seen at once, and ever more slowly when it breaks again and again: each
// opening and each end wakes the poll loop.
const (
	busRetryMin    = 50 * time.Millisecond
	busRetryAbsent = 200 * time.Millisecond // nobody is there: a dial costs microseconds
	busRetryMax    = 5 * time.Second
	// busSteady is how long a bus must have lived for its end to be a death
	// and not one more break.
	busSteady = 200 * time.Millisecond
	// busOften is how many openings in a minute are worth a warning.
	busOften = 10
)

// pace decides when the bus is opened again. The zero pace is fast.
type pace struct {
	pause time.Duration // before the next opening, unless it gets shorter or longer by what happens
	since time.Time     // the minute in which opens are counted began
	opens int
}

// opened counts an opening, and returns how many there were within a minute
// when that is worth a warning, once a minute, else 0.
func (p *pace) opened(now time.Time) int {
	if now.Sub(p.since) >= time.Minute {
		p.since, p.opens = now, 0
	}
	p.opens++
	if p.opens == busOften {
		return p.opens
	}
	return 0
}

// after is the pause after an attempt that ended with err when the bus had
// lived for that long, zero if it did not open.
func (p *pace) after(lived time.Duration, err error) time.Duration {
	limit := busRetryMax
	switch reason := failureReason(err); {
	case lived >= busSteady:
		p.pause = 0
	case lived == 0 && (reason == messages.ReasonSocketAbsent || reason == messages.ReasonRefused):
		limit = max(p.pause, busRetryAbsent)
	}
	p.pause = min(max(2*p.pause, busRetryMin), limit)
	return p.pause
}

// watchBus keeps a subscription open and wakes the poll loop when it opens, for
// whatever comes, and for its end.
func (a *Actor) watchBus(ctx context.Context) {
	var pace pace
	for ctx.Err() == nil {
		var opened time.Time
		err := a.src.Watch(ctx, func(w Warnings) {
			if opened.IsZero() {
				opened = time.Now()
				a.busOpened(&pace, opened)
			}
			if w != nil {
				a.warnings.Store(&w)
			}
			a.wakeUp()
		})
		var lived time.Duration
		if !opened.IsZero() { // a failure to open is the poll's to report
			lived = max(time.Since(opened), 1)
			a.log.Debug().Str("event", "tailnet_bus_ended").Int64("lived_ms", lived.Milliseconds()).Err(err).
				Msg("the bus of tailscaled ended; it is reopened")
			a.wakeUp()
		}
		if !rest(ctx, pace.after(lived, err)) {
			return
		}
	}
}

func (a *Actor) busOpened(p *pace, now time.Time) {
	a.busOpens.Inc()
	if n := p.opened(now); n > 0 {
		a.log.Warn().Str("event", "tailnet_bus_unsteady").Int("opens_within_a_minute", n).
			Msg("the bus of tailscaled breaks again and again: it restarts, or something between us and it cuts connections")
	}
}
