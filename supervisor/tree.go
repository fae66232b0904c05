package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/internal/telemetry"
)

// The spec of every supervisor. suture counts failures per supervisor and
// pauses all of its services past the threshold; it never gives up.
const (
	failureDecaySeconds = 30
	failureThreshold    = 5
	failureBackoff      = time.Second
	stopTimeout         = 5 * time.Second
)

// ledger knows every service of the tree: whether it runs, since when, and
// what became of it before. Services write to it themselves, from their own
// goroutine, because suture's events come in no useful order.
type ledger struct {
	log     zerolog.Logger
	metrics *telemetry.Supervisor

	mu    sync.Mutex
	nodes []*node
	paces map[string]*pace // by supervisor
}

// node is one service's account.
type node struct {
	supervisor, service string
	up                  bool
	since               time.Time // of up
	restarts            int
	lastCause           string
}

// pace is one supervisor's backoff.
type pace struct{ backingOff bool }

func newLedger(log zerolog.Logger, m *telemetry.Supervisor) *ledger {
	return &ledger{log: log, metrics: m, paces: make(map[string]*pace)}
}

// supervisor makes the supervisor of one failure domain with its services.
func (l *ledger) supervisor(name string, decorate func(suture.Service) suture.Service, services ...suture.Service) *suture.Supervisor {
	s := suture.New(name, suture.Spec{
		EventHook: l.hook, FailureDecay: failureDecaySeconds, FailureThreshold: failureThreshold,
		FailureBackoff: failureBackoff, Timeout: stopTimeout,
	})
	l.mu.Lock()
	l.paces[name] = &pace{}
	l.mu.Unlock()
	l.metrics.Backoff.WithLabelValues(name).Set(0)
	for _, service := range services {
		s.Add(l.watch(name, decorate(service)))
	}
	return s
}

// watched is a service that keeps its own account.
type watched struct {
	suture.Service
	name   string
	ledger *ledger
	node   *node
}

func (l *ledger) watch(supervisor string, s suture.Service) watched {
	name := s.(interface{ String() string }).String()
	n := &node{supervisor: supervisor, service: name}
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	for _, reason := range reasons {
		l.metrics.Restarts.WithLabelValues(name, reason)
	}
	return watched{Service: s, name: name, ledger: l, node: n}
}

func (w watched) String() string { return w.name }

func (w watched) Serve(ctx context.Context) error {
	w.ledger.began(w.node)
	defer w.ledger.ended(w.node)
	return w.Service.Serve(ctx)
}

func (l *ledger) began(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.up, n.since = true, time.Now()
}

func (l *ledger) ended(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.up = false
}

// The reasons for a restart. The set is closed: it is a metric label.
const (
	byPanic  = "panic"
	byError  = "error"
	byReturn = "returned"
)

var reasons = []string{byPanic, byError, byReturn}

// hook sees every event of every supervisor: a log line, a metric, an entry.
// suture calls it from within its loop, so it never blocks and never calls
// back.
func (l *ledger) hook(event suture.Event) {
	switch e := event.(type) {
	case suture.EventServicePanic:
		n := l.failed(e.ServiceName, byPanic)
		l.line(zerolog.ErrorLevel, "service_panic").Str("supervisor", e.SupervisorName).Str("service", e.ServiceName).
			Str("cause", e.PanicMsg).Str("stack", e.Stacktrace).Int("restarts", n).Bool("restarting", e.Restarting).
			Msg("a service panicked")
	case suture.EventServiceTerminate:
		reason, cause := byError, "it returned without an error"
		if err, ok := e.Err.(error); ok && err != nil {
			cause = err.Error()
		} else {
			reason = byReturn
		}
		n := l.failed(e.ServiceName, reason)
		l.line(zerolog.WarnLevel, "service_ended").Str("supervisor", e.SupervisorName).Str("service", e.ServiceName).
			Str("cause", cause).Int("restarts", n).Bool("restarting", e.Restarting).Msg("a service ended")
	case suture.EventBackoff:
		l.backoff(e.SupervisorName, true)
		l.line(zerolog.WarnLevel, "supervisor_backoff").Str("supervisor", e.SupervisorName).
			Msg("failures come too fast; pausing before the next restart")
	case suture.EventResume:
		l.backoff(e.SupervisorName, false)
		l.line(zerolog.InfoLevel, "supervisor_resume").Str("supervisor", e.SupervisorName).Msg("restarting again")
	case suture.EventStopTimeout:
		l.line(zerolog.ErrorLevel, "service_stuck").Str("supervisor", e.SupervisorName).Str("service", e.ServiceName).
			Msg("a service did not stop in time")
	}
}

func (l *ledger) line(level zerolog.Level, event string) *zerolog.Event {
	return l.log.WithLevel(level).Str("event", event)
}

// failed counts a restart and returns how many there were.
func (l *ledger) failed(service, cause string) int {
	l.metrics.Restarts.WithLabelValues(service, cause).Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		if n.service == service {
			n.restarts++
			n.lastCause = cause
			return n.restarts
		}
	}
	return 0
}

func (l *ledger) backoff(supervisor string, on bool) {
	v := 0.0
	if on {
		v = 1
	}
	l.metrics.Backoff.WithLabelValues(supervisor).Set(v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.paces[supervisor]; p != nil {
		p.backingOff = on
	}
}

// ServiceView is one service as /debug/tree shows it.
type ServiceView struct {
	Supervisor string `json:"supervisor"`
	Service    string `json:"service"`
	Up         bool   `json:"up"`
	UpSeconds  int64  `json:"up_seconds"`
	Restarts   int    `json:"restarts"`
	LastCause  string `json:"last_cause,omitempty"` // panic, error or returned
	BackingOff bool   `json:"backing_off"`
}

func (l *ledger) view() []ServiceView {
	l.mu.Lock()
	defer l.mu.Unlock()
	views := make([]ServiceView, 0, len(l.nodes))
	for _, n := range l.nodes {
		v := ServiceView{
			Supervisor: n.supervisor, Service: n.service, Up: n.up, Restarts: n.restarts,
			LastCause: n.lastCause, BackingOff: l.paces[n.supervisor].backingOff,
		}
		if n.up {
			v.UpSeconds = int64(time.Since(n.since).Seconds())
		}
		views = append(views, v)
	}
	return views
}

var (
	upDesc     = prometheus.NewDesc("supervisor_service_up", "1 while the service runs.", []string{"service"}, nil)
	uptimeDesc = prometheus.NewDesc("supervisor_service_uptime_seconds", "How long the service has run since it last started; 0 while it does not.", []string{"service"}, nil)
)

// Describe and Collect make the ledger the source of the services' gauges.
func (l *ledger) Describe(ch chan<- *prometheus.Desc) { ch <- upDesc; ch <- uptimeDesc }

func (l *ledger) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		up, uptime := 0.0, 0.0
		if n.up {
			up, uptime = 1, time.Since(n.since).Seconds()
		}
		ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up, n.service)
		ch <- prometheus.MustNewConstMetric(uptimeDesc, prometheus.GaugeValue, uptime, n.service)
	}
}
