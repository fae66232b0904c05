// Package tailnet watches the tailscaled beside us and reports what it sees.
//
// It polls tailscaled's status, which is the truth, and listens on its IPN bus,
// which only says "look now". It sends one fact per look, changed or not, and
// decides nothing: what a lost tailnet means is the lifecycle's business. It
// never changes tailscaled's settings and never logs in.
package tailnet

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/messages"
)

// Sender takes the facts. Send blocks until there is room or ctx ends.
type Sender interface {
	Send(ctx context.Context, ev messages.Event) error
}

// Source is tailscaled as the actor sees it. Every method honours its context.
type Source interface {
	// Status answers with the daemon's own state; peers may be missing.
	Status(ctx context.Context) (*ipnstate.Status, error)
	// Watch follows the bus until it breaks or ctx ends, and calls wake, from
	// the calling goroutine, when it is open and for every notification. The
	// warnings are nil when it is not about health. The error is never nil.
	Watch(ctx context.Context, wake func(Warnings)) error
	// Ping asks whether a peer, a MagicDNS name or an address, answers.
	Ping(ctx context.Context, peer string) error
}

// Config is what the operator decides.
type Config struct {
	// PollInterval is the promise: no answer older than this is believed. To
	// keep it without mistaking a busy daemon for a dead one, tailscaled is
	// asked twice per interval and each answer has half of it, plus slack, to
	// arrive.
	PollInterval time.Duration
	// Hostname is the MagicDNS short name that clients know the node by; empty
	// expects none. Its domain should stay what it was when it was first seen.
	Hostname string
	// ReachabilityPeer is pinged every PingInterval, unless it is empty.
	ReachabilityPeer string
	// PingInterval is the time between pings; zero means a minute.
	PingInterval time.Duration
}

// Numbers that are not the operator's business.
const (
	// lateSlack is how much longer than half an interval a poll may take.
	lateSlack = 200 * time.Millisecond
	// lostInterval paces the polls while the tailnet is not connected.
	lostInterval = time.Second
	// minGap keeps polls apart however often the bus wakes us.
	minGap = 50 * time.Millisecond
	// socketGrace is waited before it is believed that the socket is not for us
	// or not a socket, because the lifecycle gives up on either at once:
	// tailscaled removes what is in its socket's way, makes the socket, and lets
	// other users in a moment later.
	socketGrace = 250 * time.Millisecond
	// ownStall is how late our own timer may be. If it is later, this process
	// or the whole machine stood still, and tailscaled is not to blame for the
	// answer that is missing.
	ownStall = 100 * time.Millisecond
	// maxStalls is how many answers in a row may be thrown away for that: a
	// machine that never keeps time must not keep us silent.
	maxStalls = 2
)

// followUps are the pauses before the extra polls that a wake-up earns:
// tailscaled announces some changes a moment before its status shows them.
var followUps = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

// Actor is the watcher, a suture service. One Serve runs at a time.
type Actor struct {
	facts Sender
	src   Source
	cfg   Config
	log   zerolog.Logger

	wake        chan struct{} // one pending wake-up is enough
	warnings    atomic.Pointer[Warnings]
	connected   atomic.Bool
	unreachable atomic.Bool
	busOpens    prometheus.Counter
	naming      naming // the poll loop's
}

// New makes the actor. It starts nothing. What changed is the conductor's to
// log; log gets what only the watcher knows.
func New(facts Sender, src Source, cfg Config, log zerolog.Logger) *Actor {
	if cfg.PingInterval == 0 {
		cfg.PingInterval = time.Minute
	}
	return &Actor{
		facts: facts, src: src, cfg: cfg, log: log, wake: make(chan struct{}, 1), naming: naming{expected: cfg.Hostname},
		busOpens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tailnet_bus_opens_total", Help: "How often tailscaled's notifications were subscribed to; every end of the subscription costs another one.",
		}),
	}
}

// Describe and Collect make the actor a collector of what only it knows.
func (a *Actor) Describe(ch chan<- *prometheus.Desc) { a.busOpens.Describe(ch) }

// Collect is safe while the actor serves.
func (a *Actor) Collect(ch chan<- prometheus.Metric) { a.busOpens.Collect(ch) }

// String names the service in logs and metrics.
func (a *Actor) String() string { return "tailnet" }

// Serve watches until ctx ends and returns only when everything it started has
// ended too. It panics when one of its helpers did, and brings that one's stack.
func (a *Actor) Serve(ctx context.Context) error {
	err := a.watch(ctx)
	var p *helperPanic
	if errors.As(err, &p) {
		panic(p)
	}
	return err
}

func (a *Actor) watch(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	h := helpers{stop: stop}
	defer h.end()
	h.start(ctx, "bus watcher", a.watchBus)
	if a.cfg.ReachabilityPeer != "" {
		h.start(ctx, "reachability ping", a.pingPeer)
	}
	return a.pollLoop(ctx)
}

func (a *Actor) pollLoop(ctx context.Context) error {
	pending := followUps[:0]
	for {
		asked := time.Now()
		status := a.look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.facts.Send(ctx, messages.TailnetObserved{Status: status}); err != nil {
			return err
		}
		pause := a.pause(status.Link)
		if len(pending) > 0 {
			pause, pending = min(pause, pending[0]), pending[1:]
		}
		woken, err := a.sleep(ctx, asked, pause)
		if err != nil {
			return err
		}
		if woken {
			pending = followUps
		}
	}
}

// look asks tailscaled how it is, and adds what else is known.
func (a *Actor) look(ctx context.Context) messages.TailnetStatus {
	status := a.fresh(ctx)
	switch status.Reason {
	case messages.ReasonPermissionDenied, messages.ReasonNotASocket:
		if rest(ctx, socketGrace) {
			status = a.fresh(ctx)
		}
	}
	connected := status.Link == messages.LinkConnected
	a.connected.Store(connected)
	if !connected {
		return status
	}
	if a.unreachable.Load() {
		impair(&status, messages.ImpairedUnreachable, a.cfg.ReachabilityPeer+" does not answer pings")
	}
	if how := a.naming.differs(status); how != "" {
		impair(&status, messages.ImpairedNameDiffers, how)
	}
	return status
}

// fresh asks, and asks again when this process stood still meanwhile: a failure
// is then not tailscaled's, and good news is old.
func (a *Actor) fresh(ctx context.Context) messages.TailnetStatus {
	for range maxStalls {
		asked := time.Now()
		if status := a.ask(ctx); !a.stalled(asked, a.patience()) {
			return status
		}
	}
	return a.ask(ctx)
}

// stalled reports whether more time has passed than any wait could take: this
// process or the whole machine stood still, and nobody else is to blame for what
// is missing.
func (a *Actor) stalled(asked time.Time, patience time.Duration) bool {
	return time.Since(asked) > patience+ownStall
}

// ask polls once and classifies the answer.
func (a *Actor) ask(ctx context.Context) messages.TailnetStatus {
	ctx, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	st, err := a.src.Status(ctx)
	var known Warnings
	if w := a.warnings.Load(); w != nil {
		known = *w
	}
	return Classify(st, err, known, time.Now())
}

// patience is how long an answer may take.
func (a *Actor) patience() time.Duration { return a.cfg.PollInterval/2 + lateSlack }

// pause is the time from the start of one poll to the start of the next.
func (a *Actor) pause(link messages.Link) time.Duration {
	if link == messages.LinkConnected {
		return a.cfg.PollInterval / 2
	}
	return min(lostInterval, a.cfg.PollInterval/2)
}

// sleep waits until pause after asked, or until somebody wakes it, but always
// until minGap after asked.
func (a *Actor) sleep(ctx context.Context, asked time.Time, pause time.Duration) (woken bool, err error) {
	timer := time.NewTimer(time.Until(asked.Add(max(pause, minGap))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-timer.C:
		return false, nil
	case <-a.wake:
	}
	timer.Reset(time.Until(asked.Add(minGap)))
	select {
	case <-ctx.Done():
		return true, context.Cause(ctx)
	case <-timer.C:
		return true, nil
	}
}

// wakeUp asks for a poll now.
func (a *Actor) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default: // one is already pending
	}
}
