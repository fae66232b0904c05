// Package listener serves the data plane's socket whenever that is desired.
//
// The socket and the HTTP server outlive it: when it restarts, dials wait in
// the kernel and the streams in flight notice nothing. It never closes a
// connection.
package listener

import (
	"context"
	"errors"
	"net"

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

// Server is the proxy port, which survives every Serve.
type Server interface {
	Bind() (net.Addr, error)
	Addr() string
	Serve(ctx context.Context) error
}

// Actor is the listener, a suture service. One Serve runs at a time.
type Actor struct {
	facts  Sender
	want   Desire
	server Server
	log    zerolog.Logger
}

// New makes the actor and starts nothing.
func New(facts Sender, want Desire, server Server, log zerolog.Logger) *Actor {
	return &Actor{facts: facts, want: want, server: server, log: log}
}

// String names the service in logs and metrics.
func (a *Actor) String() string { return "listener" }

// Serve waits until listening is desired, binds, says so, and serves until ctx
// ends.
func (a *Actor) Serve(ctx context.Context) error {
	if _, err := a.want.Await(ctx, func(d messages.Desired) bool { return d.Listen }); err != nil {
		return err
	}
	addr, err := a.server.Bind()
	if err != nil {
		if serr := a.facts.Send(ctx, messages.ListenerFailed{Addr: a.server.Addr(), Err: reason(err)}); serr != nil {
			return serr
		}
		return err
	}
	a.log.Info().Str("event", "listening").Str("addr", addr.String()).Msg("the proxy port is open")
	if err := a.facts.Send(ctx, messages.ListenerReady{Addr: addr.String()}); err != nil {
		return err
	}
	return a.server.Serve(ctx)
}

// reason is the system's own word: the fact names the address already.
func reason(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return err.Error()
}
