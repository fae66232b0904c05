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

// tickEvery is how late a deadline of the machine may be noticed.
const tickEvery = 250 * time.Millisecond

// Options are what the conductor's log lines compare with.
type Options struct {
	// Hostname is the name that the operator expects the node to have. Another
	// one is worth a warning; empty expects nothing.
	Hostname string
}

// Actor is the conductor, a suture service. One Serve runs at a time. The
// machine lives here and not in Serve, so that it survives a restart.
type Actor struct {
	mailbox <-chan messages.Event
	desired *messages.Latest[messages.Desired]
	state   *messages.Latest[messages.State]
	step    func(lifecycle.Machine, time.Time, messages.Event) lifecycle.Machine
	machine lifecycle.Machine
	report  reporter
}

// New makes the actor and starts nothing. The actor is the only one that may
// receive from mailbox and store to the cells.
func New(
	mailbox <-chan messages.Event,
	desired *messages.Latest[messages.Desired],
	state *messages.Latest[messages.State],
	machine lifecycle.Machine,
	log zerolog.Logger,
	opts Options,
) *Actor {
	return &Actor{
		mailbox: mailbox,
		desired: desired,
		state:   state,
		step:    lifecycle.Machine.Step,
		machine: machine,
		report:  reporter{log: log, expected: opts.Hostname, was: machine.State(), told: machine.State().Tailnet},
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
	var ev messages.Event = messages.Ticked{} // a restart takes time too
	for {
		a.handle(ev)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev = <-a.mailbox:
		case <-ticker.C:
			ev = messages.Ticked{}
		}
	}
}

// handle makes one step. State is stored before Desired, so that an actor that
// acts on a wish finds a State at least as new.
func (a *Actor) handle(ev messages.Event) {
	a.machine = a.step(a.machine, time.Now(), ev)
	s := a.machine.State()
	a.state.Store(s)
	if a.desired.Get() != s.Desired {
		a.desired.Store(s.Desired)
	}
	a.report.changes(a.machine)
}
