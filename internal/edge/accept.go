package edge

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// A failed accept is tried again after a pause that doubles.
const (
	acceptPause        = 5 * time.Millisecond
	longestAcceptPause = time.Second
)

// Metrics are what the doors count. One serves all servers of a process.
type Metrics struct {
	accept *prometheus.CounterVec // errno
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{accept: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "proxy_accept_errors_total",
		Help: "Connections that could not be accepted, by the system's error."}, []string{"errno"})}
	reg.MustRegister(m.accept)
	for _, e := range passing {
		m.accept.WithLabelValues(unix.ErrnoName(e))
	}
	return m
}

// passing are the errors of accept(2) that are one connection's, or that a
// better moment heals.
var passing = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, // the system's
	syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM, syscall.EPROTO, syscall.ETIMEDOUT, // the connection's
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
}

// acceptErrors counts the errors of one socket and logs each kind once a
// minute.
type acceptErrors struct {
	port    string // of the log line: proxy or admin
	log     zerolog.Logger
	metrics *Metrics // nil counts nothing
	told    *told
}

// told remembers when each kind was logged, and how many came since.
type told struct {
	mu    sync.Mutex
	last  map[syscall.Errno]time.Time
	since map[syscall.Errno]int
}

func newAcceptErrors(port string, log zerolog.Logger, m *Metrics) acceptErrors {
	return acceptErrors{port: port, log: log, metrics: m, told: &told{
		last: map[syscall.Errno]time.Time{}, since: map[syscall.Errno]int{},
	}}
}

// tellEvery spaces the log lines about one kind of error.
const tellEvery = time.Minute

// count reports whether the socket is well in spite of err.
func (a acceptErrors) count(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	name := unix.ErrnoName(errno)
	if a.metrics != nil {
		a.metrics.accept.WithLabelValues(name).Inc()
	}
	if n := a.told.now(errno, time.Now()); n > 0 {
		a.log.Warn().Str("event", "accept_failed").Str("port", a.port).Str("errno", name).Int("count", n).
			Msg("connections could not be accepted: " + errno.Error())
	}
	for _, e := range passing {
		if e == errno {
			return true
		}
	}
	return false
}

// now counts one more, and returns how many are to be told of now.
func (t *told) now(e syscall.Errno, now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since[e]++
	if last, ever := t.last[e]; ever && now.Sub(last) < tellEvery {
		return 0
	}
	n := t.since[e]
	t.last[e], t.since[e] = now, 0
	return n
}
