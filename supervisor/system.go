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
//	└── admin     metrics, port
//
// Outside the tree stand, each a goroutine of Run's: the door, which follows the
// wishes whatever becomes of the actors, and the watchdog.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/actors/conductor"
	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/telemetry"
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
	door        *door
	watchdog    watchdog
	journal     *conductor.Journal

	// ended ends, with the reason, when the run must end without its lifecycle.
	ended     context.Context
	end       context.CancelCauseFunc
	givenUp   sync.Once
	lastWords func(reason string, goroutines []byte)
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
	// LastWords, when not nil, is told at once when the process cannot react any
	// more: why, and what every goroutine was doing. It is called once at most.
	LastWords func(reason string, goroutines []byte)
	// Followers look on while exchanges run, beside our own.
	Followers []proxy.Follower
	// LogState, when not nil, says how the log does.
	LogState func() telemetry.LinesState
	// Upstream are the options of the connections to the API.
	Upstream upstream.Options
}

// mailboxSize is far above what the actors can have to say at once.
const mailboxSize = 64

// Run runs the service until its lifecycle ends, and returns how. The tree is
// gone when it returns; a System runs once. When ctx ends first, or the service
// cannot react any more, Run takes it down in the same order but without a
// drain, and says so with code 1.
func (s *System) Run(ctx context.Context) messages.Exit {
	stop := context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	defer stop()
	life, over := context.WithCancel(context.Background())
	defer over()
	var own sync.WaitGroup
	own.Go(func() { s.door.follow(life) })
	own.Go(func() { s.watchdog.watch(life) })
	// The tree outlives ctx: the admin pages answer until the data plane is gone.
	tree, fell := context.WithCancel(context.WithoutCancel(ctx))
	defer fell()
	ended := s.root.ServeBackground(tree)

	_, _ = s.desired.Await(s.ended, func(d messages.Desired) bool { return d.Stop })
	cut := s.door.hangUp()
	over()
	fell()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		s.log.Error().Str("event", "tree_ended").AnErr("error", err).Msg("the supervisor tree ended with an error")
	}
	own.Wait()
	s.release()
	return s.exit(cut)
}

// exit is how the run ended, with what the machine could not know any more.
func (s *System) exit(cut int) messages.Exit {
	last := s.state.Get()
	exit := last.Exit
	if last.Phase != messages.Stopped {
		exit = messages.Exit{Code: 1, Message: fmt.Sprintf("ended while %s, without a drain: %v.", last.Phase, context.Cause(s.ended))}
	}
	if cut > 0 {
		exit.Message += fmt.Sprintf(" %d requests in flight were cut.", cut)
	}
	if last.Phase != messages.Stopped {
		s.log.Error().Str("event", "exit").Int("code", exit.Code).Msg(exit.Message)
	}
	return exit
}

// release frees what Build created and Run did not.
func (s *System) release() {
	s.end(nil)
	s.feed.Close()
	_ = shutDown(s.admin, adminFarewell) // a probe that is cut will be repeated
	s.pool.Close()
	s.sidecar.close()
}

// ErrDeaf: what was asked did not show in the state in time.
var ErrDeaf = errors.New("the service does not react")

// Shutdown asks for the end by a drain. Asking again changes nothing. It returns
// when the state shows it, or with [ErrDeaf] after [DeliveryPatience], or with
// ctx. Any goroutine may call it.
func (s *System) Shutdown(ctx context.Context, cause string) error {
	return s.deliver(ctx, messages.ShutdownRequested{Cause: cause}, ending)
}

// Await returns when what the lifecycle wishes is such that holds is true, or
// with ctx's error. It may be called from any goroutine.
func (s *System) Await(ctx context.Context, holds func(messages.Desired) bool) error {
	_, err := s.desired.Await(ctx, holds)
	return err
}

// Interrupt asks for the end as a person at a terminal does: it drains, and
// during a drain it ends that. Otherwise it is as Shutdown.
func (s *System) Interrupt(ctx context.Context, cause string) error {
	shown := ending
	if s.state.Get().Phase == messages.Draining {
		shown = stopped
	}
	return s.deliver(ctx, messages.Interrupted{Cause: cause}, shown)
}

func ending(st messages.State) bool {
	return st.Phase == messages.Draining || st.Phase == messages.Stopped
}

func stopped(st messages.State) bool { return st.Phase == messages.Stopped }

// deliver sends a fact and waits until the state shows it: a mailbox that takes
// it proves nothing, its reader may be dead.
func (s *System) deliver(ctx context.Context, ev messages.Event, shown func(messages.State) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, DeliveryPatience, ErrDeaf)
	defer cancel()
	if err := s.events.Send(ctx, ev); err != nil {
		return err
	}
	if _, err := s.state.Await(ctx, shown); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Journal is how it came here: the newest facts and what they changed, oldest
// first.
func (s *System) Journal() []messages.JournalEntry { return s.journal.Entries() }

// begin reports the first fact.
func (s *System) begin(c config.Config) error {
	return s.events.Send(context.Background(), messages.ConfigLoaded{TailnetDisabled: c.Tailscale.Mode == config.ModeOff})
}
