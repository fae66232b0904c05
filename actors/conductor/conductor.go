// Package conductor is the one reader of the mailbox and the one writer of the
// Desired and State cells. It gives every fact, and the passing of time, to the
// lifecycle machine, publishes what comes out, and logs what changed.
//
// It decides nothing, sends nothing to anybody and waits for nothing but the
// next fact and the next tick.
package conductor

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/lifecycle"
	"anthropic-oauth-proxy/messages"
)

const (
	// tickEvery is how late a deadline of the machine may be noticed.
	tickEvery = 250 * time.Millisecond
	// stallAfter is how late a tick may be and count as on time.
	stallAfter = time.Second
)

// Options are what the conductor reads, writes and compares with. All of it
// outlives the actor.
type Options struct {
	// Mailbox is read by the conductor alone; Desired and State are stored by
	// it alone.
	Mailbox *messages.Mailbox[messages.Event]
	Desired *messages.Latest[messages.Desired]
	State   *messages.Latest[messages.State]
	Machine lifecycle.Machine
	// Edge is what the supervisor's accounts say of the proxy port now. It is
	// asked at each tick and answers at once.
	Edge func() messages.EdgeStatus
	// Hostname is the name that the operator expects the node to have. Another
	// one is worth a warning; empty expects nothing.
	Hostname string
	Journal  *Journal
	Metrics  *Metrics
	Log      zerolog.Logger
}

// Actor is the conductor, a suture service. One Serve runs at a time. The
// machine lives here and not in Serve, so that it survives a restart.
type Actor struct {
	Options
	step   func(lifecycle.Machine, time.Time, messages.Event) lifecycle.Machine
	report reporter
	// ticked is when the last tick came, in whatever life; zero before the first.
	ticked time.Time
	edge   messages.EdgeStatus // that the machine was told last
}

// New makes the actor and starts nothing.
func New(o Options) *Actor {
	return &Actor{
		Options: o,
		step:    lifecycle.Machine.Step,
		report:  reporter{log: o.Log, expected: o.Hostname, was: o.Machine.State(), told: o.Machine.State().Tailnet},
	}
}

// String names the service in logs and metrics.
func (a *Actor) String() string { return "conductor" }

// Serve reads facts until ctx ends and returns ctx's error, never nil. It goes
// on after the machine has stopped: whoever owns the process sees Stop in the
// cells and ends ctx, in whatever order suits the other services.
//
// A fact is taken out of the mailbox before it is tried. One that makes the
// machine panic is therefore lost, and it alone: the supervisor serves again
// with the machine as it was before.
func (a *Actor) Serve(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	a.excuse(a.late()) // a restart takes time too
	a.tick()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-a.Mailbox.Messages():
			a.mind()
			a.handle(ev)
		case <-ticker.C:
			a.Metrics.lateness.Observe(a.late().Seconds())
			a.mind()
			a.tick()
		}
	}
}

// tick lets time pass, and tells the machine what the accounts say.
func (a *Actor) tick() {
	a.ticked = time.Now()
	if edge := a.Edge(); edge != a.edge {
		a.edge = edge
		a.handle(messages.EdgeObserved{Edge: edge})
	}
	a.handle(messages.Ticked{})
}

// late is how long a tick is overdue.
func (a *Actor) late() time.Duration {
	if a.ticked.IsZero() {
		return 0
	}
	return max(0, time.Since(a.ticked)-tickEvery)
}

// mind finds out, before anything else is handled, that the process stood still.
func (a *Actor) mind() {
	late := a.late()
	if late > stallAfter {
		a.Metrics.stalls.Inc()
		a.report.stalled(late)
	}
	a.excuse(late)
}

// excuse tells the machine when nobody was here for too long, whatever for.
func (a *Actor) excuse(late time.Duration) {
	if late > stallAfter {
		a.ticked = time.Now()
		a.handle(messages.Stalled{For: late})
	}
}

// handle makes one step. State is stored before Desired, so that an actor that
// acts on a wish finds a State at least as new.
func (a *Actor) handle(ev messages.Event) {
	began := time.Now()
	before := a.Machine.State()
	a.Machine = a.step(a.Machine, began, ev)
	s := a.Machine.State()
	a.State.Store(s)
	if a.Desired.Get() != s.Desired {
		a.Desired.Store(s.Desired)
	}
	a.Journal.enter(began, ev, before, s)
	a.report.changes(a.Machine)
	a.Metrics.stepped(ev.Kind(), began, time.Now())
}
