// Package supervisor builds the service and runs it.
//
// Build creates everything that outlives a restart: the mailbox, the cells, the
// sockets, the HTTP servers, the gate with its table of requests in flight, the
// registry, the handler. The actors borrow all of it and own nothing, so any of
// them may die at any time. One supervisor per failure domain restarts them:
//
//	root
//	├── control   conductor, drain
//	├── edge      listener
//	├── tailnet   tailnet
//	└── admin     metrics
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/upstream"
	"anthropic-oauth-proxy/messages"
)

// System is the built service.
type System struct {
	log     zerolog.Logger
	events  *messages.Mailbox[messages.Event]
	desired *messages.Latest[messages.Desired]
	state   *messages.Latest[messages.State]
	gate    *admission.Gate
	pool    *upstream.Pool
	sidecar sidecar
	// recorder follows the requests, feed shows what it knows.
	recorder *status.Recorder
	feed     *status.Feed

	edge, admin *edge.Server
	root        *suture.Supervisor
}

// Options are what the program, and tests, may choose.
type Options struct {
	Version string
	Log     zerolog.Logger
	// Collectors are counted outside the service, such as the lines of its log.
	Collectors []prometheus.Collector
	// Decorate, when not nil, wraps each actor before it is supervised. Tests
	// use it to make actors fail.
	Decorate func(suture.Service) suture.Service
	// Upstream are the options of the connections to the API.
	Upstream upstream.Options
}

const (
	// mailboxSize is far above what the actors can have to say at once.
	mailboxSize = 64
	// farewell is how long the connections of finished streams may take to
	// flush, after the drain.
	farewell = 2 * time.Second
	// adminFarewell is the same for the admin pages.
	adminFarewell = time.Second
	// drainGrace is the lifecycle's patience with the drain actor. It covers
	// the time in which cut streams say goodbye, and a restart.
	drainGrace = 5 * time.Second
)

// Run runs the service until its lifecycle ends, and returns how. The tree is
// gone when it returns; a System runs once. When ctx ends first, Run takes the
// service down in the same order but without a drain, and says so with code 1.
func (s *System) Run(ctx context.Context) messages.Exit {
	// The tree outlives ctx: the admin pages answer until the data plane is gone.
	tree, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := s.root.ServeBackground(tree)
	_, _ = s.desired.Await(ctx, func(d messages.Desired) bool { return d.Stop })
	s.hangUp()
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		s.log.Error().Str("event", "tree_ended").AnErr("error", err).Msg("the supervisor tree ended with an error")
	}
	s.release()
	last := s.state.Get()
	if last.Phase == messages.Stopped {
		return last.Exit
	}
	exit := messages.Exit{Code: 1, Message: fmt.Sprintf("ended while %s, without a drain: %v.", last.Phase, context.Cause(ctx))}
	s.log.Error().Str("event", "exit").Int("code", exit.Code).Msg(exit.Message)
	return exit
}

// hangUp ends what the drain left: new requests are refused, streams told
// goodbye, connections closed once they are flushed.
func (s *System) hangUp() {
	s.gate.Close()
	if left := s.gate.Load(); left.Left() > 0 {
		s.log.Info().Str("event", "hang_up").Int("streams", left.Left()).Float64("oldest_s", left.Oldest.Seconds()).
			Msg("ending the streams that are left")
	}
	s.gate.End(proxy.ErrDrained)
	if err := shutDown(s.edge, farewell); err != nil {
		s.log.Warn().Str("event", "hang_up").AnErr("error", err).Msg("connections were cut")
	}
}

// release frees what Build created and Run did not.
func (s *System) release() {
	s.feed.Close()
	_ = shutDown(s.admin, adminFarewell) // a probe that is cut will be repeated
	s.pool.Close()
	s.sidecar.close()
}

// shutDown lets the answers in flight reach their clients, for a while.
func shutDown(server *edge.Server, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return server.Shutdown(ctx)
}

// Shutdown asks for the end: the first call drains, the second ends the drain.
// It may be called from any goroutine and waits only while the mailbox is full.
func (s *System) Shutdown(ctx context.Context, cause string) error {
	return s.events.Send(ctx, messages.ShutdownRequested{Cause: cause})
}

// Await returns when what the lifecycle wishes is such that holds is true, or
// with ctx's error. It may be called from any goroutine.
func (s *System) Await(ctx context.Context, holds func(messages.Desired) bool) error {
	_, err := s.desired.Await(ctx, holds)
	return err
}

// streams is the gate as the drain actor sees it.
type streams struct{ gate *admission.Gate }

func (s streams) Close()                { s.gate.Close() }
func (s streams) End()                  { s.gate.End(proxy.ErrDrained) }
func (s streams) Idle() <-chan struct{} { return s.gate.Idle() }
func (s streams) Load() (int, time.Duration) {
	l := s.gate.Load()
	return l.Left(), l.Oldest
}

// begin reports the first fact.
func (s *System) begin(c config.Config) error {
	return s.events.Send(context.Background(), messages.ConfigLoaded{TailnetDisabled: c.Tailscale.Mode == config.ModeOff})
}
