package supervisor

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/messages"
)

// The spec of every supervisor. suture counts failures per supervisor and
// pauses the restarts of its services past the threshold; it never gives up.
const (
	failureDecaySeconds = 30
	failureThreshold    = 5
)

// The longest pauses. The domain of the conductor must get several tries within
// the watchdog's patience, and a port that may serve again must not be kept
// waiting for long.
const (
	longestPause        = 16 * time.Second
	longestControlPause = 4 * time.Second
	longestEdgePause    = 8 * time.Second
)

// tree makes the supervisors, keeps their accounts, and logs what happens in
// them.
type tree struct {
	*accounts
	log zerolog.Logger
}

// supervisor makes the supervisor of one failure domain with its services.
func (t tree) supervisor(name string, longest time.Duration, services ...suture.Service) *suture.Supervisor {
	d := t.newDomain(name, longest)
	b := branch{tree: t, domain: d}
	s := suture.New(name, suture.Spec{
		EventHook: t.hook, FailureDecay: failureDecaySeconds, FailureThreshold: failureThreshold,
		BackoffJitter: b, Timeout: stopTimeout,
	})
	for _, service := range services {
		s.Add(b.watch(service))
	}
	return s
}

// branch is one supervisor's part of the tree.
type branch struct {
	tree
	domain *domain
}

// Jitter is how suture asks for the length of a pause. It does not matter what
// the spec says.
func (b branch) Jitter(time.Duration) time.Duration { return b.pause(b.domain) }

// watched is a service that keeps its own account.
type watched struct {
	suture.Service
	name     string
	accounts *accounts
	account  *service
}

func (b branch) watch(s suture.Service) watched {
	name := s.(interface{ String() string }).String()
	return watched{Service: s, name: name, accounts: b.accounts, account: b.newService(b.domain, name)}
}

func (w watched) String() string { return w.name }

func (w watched) Serve(ctx context.Context) error {
	w.accounts.began(w.account)
	defer w.accounts.ended(w.account)
	return w.Service.Serve(ctx)
}

// hook sees every event of every supervisor: a log line, an entry. suture calls
// it from within its loop, so it never blocks and never calls back, and it hands
// the parent's hook to each child: the name in the event says whose it is. A
// cause that comes again and again is told with its stack once.
func (t tree) hook(event suture.Event) {
	switch e := event.(type) {
	case suture.EventServicePanic:
		cause, stack := panicOf(e)
		n, news := t.failed(e.SupervisorName, e.ServiceName, messages.Cause{At: time.Now(), Kind: messages.CausePanic, Message: cause})
		line := t.line(zerolog.ErrorLevel, "service_panic", e.SupervisorName).Str("service", e.ServiceName).Str("cause", bounded(cause))
		if news {
			line = line.Str("stack", stack)
		}
		line.Int("restarts", n).Bool("restarting", e.Restarting).Msg("a service panicked")
	case suture.EventServiceTerminate:
		c := messages.Cause{At: time.Now(), Kind: messages.CauseReturned, Message: "it returned without an error"}
		if err, ok := e.Err.(error); ok && err != nil {
			c.Kind, c.Message = messages.CauseError, err.Error()
		}
		n, _ := t.failed(e.SupervisorName, e.ServiceName, c)
		t.line(zerolog.WarnLevel, "service_ended", e.SupervisorName).Str("service", e.ServiceName).Str("cause", bounded(c.Message)).
			Int("restarts", n).Bool("restarting", e.Restarting).Msg("a service ended")
	case suture.EventBackoff:
		t.line(zerolog.WarnLevel, "supervisor_backoff", e.SupervisorName).Msg("failures come too fast; pausing before the next restart")
	case suture.EventResume:
		t.resumed(e.SupervisorName)
		t.line(zerolog.InfoLevel, "supervisor_resume", e.SupervisorName).Msg("restarting again")
	case suture.EventStopTimeout:
		t.line(zerolog.ErrorLevel, "service_stuck", e.SupervisorName).Str("service", e.ServiceName).Msg("a service did not stop in time")
	}
}

// panicOf tells a panic's cause from its stack. A service that passes a helper's
// panic on brings the stack of where it happened, behind the cause.
func panicOf(e suture.EventServicePanic) (cause, stack string) {
	const begin = "goroutine "
	if cause, own, found := strings.Cut(e.PanicMsg, "\n\n"+begin); found {
		return cause, begin + own
	}
	return e.PanicMsg, e.Stacktrace
}

func (t tree) line(level zerolog.Level, event, supervisor string) *zerolog.Event {
	return t.log.WithLevel(level).Str("event", event).Str("supervisor", supervisor)
}
