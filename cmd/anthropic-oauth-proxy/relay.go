package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/rs/zerolog"
)

// asked is what signals ask of the service. The requests return when its state
// shows what was asked for, with an error when it does not in time.
type asked interface {
	Shutdown(ctx context.Context, cause string) error
	Interrupt(ctx context.Context, cause string) error
	GiveUp(reason string)
}

// relay turns signals into requests, one at a time: one that is not answered ends
// the run.
type relay struct {
	service asked
	log     zerolog.Logger
	ignored map[os.Signal]bool // told of already
}

func newRelay(service asked, log zerolog.Logger) *relay {
	return &relay{service: service, log: log, ignored: make(map[os.Signal]bool)}
}

// run relays until ctx ends.
func (r *relay) run(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case s := <-signals:
			r.take(ctx, s)
		case <-ctx.Done():
			return
		}
	}
}

// take asks for a drain with SIGTERM, and as a person does with SIGINT. Others
// are survived: a terminal that closes and a reader that leaves are no reason to
// cut streams.
func (r *relay) take(ctx context.Context, s os.Signal) {
	switch s {
	case syscall.SIGTERM:
		r.deliver(ctx, s, r.service.Shutdown)
	case syscall.SIGINT:
		r.deliver(ctx, s, r.service.Interrupt)
	default:
		if !r.ignored[s] {
			r.ignored[s] = true
			r.log.Warn().Str("event", "signal_ignored").Str("signal", s.String()).Msg("a signal is ignored, now and from now on")
		}
	}
}

// deliver ends a service that does not react: whoever sends a signal must not
// need a kill -9.
func (r *relay) deliver(ctx context.Context, s os.Signal, ask func(context.Context, string) error) {
	err := ask(ctx, s.String())
	if err == nil || errors.Is(err, context.Canceled) { // the run has ended meanwhile
		return
	}
	r.service.GiveUp(s.String() + ": " + err.Error())
}
