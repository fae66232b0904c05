// Package drain watches over the end of the service's work: it tells how the
// requests in flight finish and reports when none is left.
//
// It closes nothing and ends nothing. The door follows the wishes by itself, so
// that a drain goes on whatever becomes of this actor.
package drain

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/messages"
)

// Sender takes facts.
type Sender interface {
	Send(ctx context.Context, ev messages.Event) error
}

// Desire is the cell of wishes.
type Desire interface {
	Await(ctx context.Context, holds func(messages.Desired) bool) (messages.Desired, error)
}

// Streams are the requests in flight behind their gate.
type Streams interface {
	// Idle closes when the gate is closed and nothing is in flight.
	Idle() <-chan struct{}
	// Load counts what is in flight and gives the age of the oldest.
	Load() (active int, oldest time.Duration)
	// Cut counts the requests that were ended so far, in whatever life of the
	// actor.
	Cut() int
}

const (
	// reportEvery is the time between two progress lines of a long drain.
	reportEvery = 10 * time.Second
	// FlushTime is how long after the deadline the actor waits for requests that
	// were ended to leave, before it reports without them.
	FlushTime = 2 * time.Second
)

// Actor is the drain coordinator, a suture service. One Serve runs at a time.
type Actor struct {
	facts   Sender
	want    Desire
	streams Streams
	log     zerolog.Logger
}

// New makes the actor and starts nothing.
func New(facts Sender, want Desire, streams Streams, log zerolog.Logger) *Actor {
	return &Actor{facts: facts, want: want, streams: streams, log: log}
}

// String names the service in logs and metrics.
func (a *Actor) String() string { return "drain" }

// Serve waits until a drain is desired, follows it to its end, reports that, and
// then waits for ctx to end.
func (a *Actor) Serve(ctx context.Context) error {
	want, err := a.want.Await(ctx, func(d messages.Desired) bool { return d.Drain })
	if err != nil {
		return err
	}
	a.say("started").Time("deadline", want.DrainBy).Msg("draining: the door is closed")
	if err := a.drain(ctx, want.DrainBy); err != nil {
		return err
	}
	cut := a.streams.Cut()
	a.say("finished").Int("cut", cut).Msg("drain finished")
	if err := a.facts.Send(ctx, messages.DrainFinished{Cut: cut}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// drain waits until nothing is in flight, or what is left does not leave.
func (a *Actor) drain(ctx context.Context, by time.Time) error {
	deadline := time.NewTimer(time.Until(by))
	defer deadline.Stop()
	progress := time.NewTicker(reportEvery)
	defer progress.Stop()
	for {
		select {
		case <-a.streams.Idle():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-progress.C:
			a.say("waiting").Int64("left_ms", time.Until(by).Milliseconds()).Msg("draining: waiting for streams to finish")
		case <-deadline.C:
			return a.flush(ctx)
		}
	}
}

// flush waits for the requests that the deadline ends.
func (a *Actor) flush(ctx context.Context) error {
	patience := time.NewTimer(FlushTime)
	defer patience.Stop()
	select {
	case <-a.streams.Idle():
	case <-patience.C:
		a.say("stuck").Msg("streams did not end in time; their connections are cut")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (a *Actor) say(stage string) *zerolog.Event {
	active, oldest := a.streams.Load()
	return a.log.Info().Str("event", "drain").Str("stage", stage).
		Int("streams", active).Int64("oldest_ms", oldest.Milliseconds())
}
