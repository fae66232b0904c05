// Package drain ends the service's work in order: it closes the gate to new
// requests, waits for those in flight, and ends what is left at the deadline.
//
// It never ends a stream before the deadline that the lifecycle set.
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

// Streams are the requests in flight behind their gate. Every method may be
// called again after a restart.
type Streams interface {
	// Close refuses new requests from now on.
	Close()
	// End ends all that is in flight.
	End()
	// Idle closes when the gate is closed and nothing is in flight.
	Idle() <-chan struct{}
	// Load counts what is in flight and gives the age of the oldest.
	Load() (active int, oldest time.Duration)
}

const (
	// reportEvery is the time between two progress lines of a long drain.
	reportEvery = 10 * time.Second
	// FlushTime is how long streams that were ended may take to say goodbye.
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

// Serve waits until a drain is desired, does it, reports it, and then waits
// for ctx to end.
func (a *Actor) Serve(ctx context.Context) error {
	want, err := a.want.Await(ctx, func(d messages.Desired) bool { return d.Drain })
	if err != nil {
		return err
	}
	by := want.DrainBy
	a.streams.Close()
	a.say("started").Time("deadline", by).Msg("draining: new requests are refused")
	cut, err := a.drain(ctx, by)
	if err != nil {
		return err
	}
	a.say("finished").Int("cut", cut).Msg("drain finished")
	if err := a.facts.Send(ctx, messages.DrainFinished{Cut: cut}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// drain waits for the streams and returns how many the deadline ended.
func (a *Actor) drain(ctx context.Context, by time.Time) (cut int, err error) {
	deadline := time.NewTimer(time.Until(by))
	defer deadline.Stop()
	progress := time.NewTicker(reportEvery)
	defer progress.Stop()
	for {
		select {
		case <-a.streams.Idle():
			return 0, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-progress.C:
			a.say("waiting").Dur("left_ms", time.Until(by)).Msg("draining: waiting for streams to finish")
		case <-deadline.C:
			return a.cut(ctx)
		}
	}
}

// cut ends what is left and gives it the time to tell its clients.
func (a *Actor) cut(ctx context.Context) (int, error) {
	left, _ := a.streams.Load()
	if left == 0 { // the last one finished together with the deadline
		return 0, nil
	}
	a.say("deadline").Msg("drain deadline: ending the streams that are left")
	a.streams.End()
	flush := time.NewTimer(FlushTime)
	defer flush.Stop()
	select {
	case <-a.streams.Idle():
	case <-flush.C:
		a.say("stuck").Msg("streams did not end in time; their connections will be cut")
	case <-ctx.Done():
		return left, ctx.Err()
	}
	return left, nil
}

func (a *Actor) say(stage string) *zerolog.Event {
	active, oldest := a.streams.Load()
	return a.log.Info().Str("event", "drain").Str("stage", stage).
		Int("streams", active).Float64("oldest_s", oldest.Seconds())
}
