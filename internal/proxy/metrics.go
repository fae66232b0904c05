package proxy

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sample is what the metrics keep of one proxied request.
type sample struct {
	Status        int // as in the access log: 499 for a client that left
	Method        string
	Outcome       Outcome
	ErrorType     ErrorType // empty when nothing went wrong
	Credential    Credential
	Duration      time.Duration
	FirstByte     time.Duration // zero when the client got none
	Queued        time.Duration
	RequestBytes  int64
	ResponseBytes int64
}

// Metrics is what the data plane counts. It is registered once and outlives the
// restart of every actor. Its methods are safe for concurrent use.
type Metrics struct {
	queued      prometheus.Gauge
	retries     map[repeat]prometheus.Counter
	lastRequest prometheus.Gauge

	reg           prometheus.Registerer
	requests      *prometheus.CounterVec
	durations     *prometheus.HistogramVec
	errors        map[ErrorType]prometheus.Counter
	outcomes      map[Outcome]prometheus.Counter
	credentials   map[Credential]prometheus.Counter
	firstByte     prometheus.Histogram
	streams       prometheus.Histogram
	waits         prometheus.Histogram
	requestBytes  prometheus.Counter
	responseBytes prometheus.Counter

	// resolved keeps the children of requests and durations by status and
	// method, so that a request pays for no label lookup.
	resolved sync.Map // series -> *children

	served, failed atomic.Uint64
}

type series struct {
	status int
	method string
}

type children struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

var (
	// Streams run for minutes; the default buckets end at ten seconds.
	streamBuckets = []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600}
	latencyBucket = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
)

// NewMetrics registers the metrics. limit is how many requests may run at once,
// shown beside the gauge that it bounds.
func NewMetrics(reg prometheus.Registerer, limit int) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	m := &Metrics{
		reg:         reg,
		queued:      gauge("proxy_requests_queued", "Requests that wait for a place."),
		lastRequest: gauge("tailnet_last_request_timestamp_seconds", "When the last proxied request came in; evidence that peers reach us."),
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "proxy_requests_total",
			Help: "Proxied requests by final status (499: the client left) and method."}, []string{"status", "method"})),
		durations: register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "proxy_request_duration_seconds",
			Help: "From a request's head to the end of its answer.", Buckets: streamBuckets}, []string{"status"})),
		firstByte:     histogram("proxy_time_to_first_byte_seconds", "From a request's head to the first byte of its answer's body.", latencyBucket),
		streams:       histogram("proxy_stream_duration_seconds", "From the first byte of an answer's body to its end.", streamBuckets),
		waits:         histogram("proxy_queue_wait_seconds", "Time spent waiting for a place.", latencyBucket),
		requestBytes:  counter("proxy_request_bytes_total", "Bytes of request bodies read from clients."),
		responseBytes: counter("proxy_response_bytes_total", "Bytes of response bodies written to clients."),
	}
	m.retries = closedSet(reg, "proxy_retries_total", "Upstream attempts that were repeated, by the reason that made it safe.", "reason", repeats)
	m.errors = closedSet(reg, "proxy_upstream_errors_total", "Requests that ended in an error of ours or a broken stream, by what went wrong.", "error_type", ErrorTypes)
	m.outcomes = closedSet(reg, "proxy_outcomes_total", "Requests by how they ended.", "outcome", Outcomes)
	m.credentials = closedSet(reg, "proxy_credentials_total", "Requests by the class of their credential.", "class", Credentials)
	gauge("proxy_max_connections", "The limit on requests in flight.").Set(float64(limit))
	return m
}

// closedSet makes a counter for every member, so that each series exists from
// the start.
func closedSet[L ~string](reg prometheus.Registerer, name, help, label string, members []L) map[L]prometheus.Counter {
	vec := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label}))
	set := make(map[L]prometheus.Counter, len(members))
	for _, member := range members {
		set[member] = vec.WithLabelValues(string(member))
	}
	return set
}

// WatchInFlight makes count the source of proxy_requests_in_flight. Call once.
func (m *Metrics) WatchInFlight(count func() float64) {
	m.gaugeFunc("proxy_requests_in_flight", "Proxied requests that run now.", nil, count)
}

// WatchReplayBuffer makes bytes the source of proxy_replay_buffer_bytes. Call
// once.
func (m *Metrics) WatchReplayBuffer(bytes func() float64) {
	m.gaugeFunc("proxy_replay_buffer_bytes", "Memory that request bodies hold in order to be repeatable.", nil, bytes)
}

// WatchConnections makes the functions the sources of
// proxy_upstream_connections. Call once.
func (m *Metrics) WatchConnections(h1, h2 func() float64) {
	const name, help = "proxy_upstream_connections", "Open connections to the API."
	m.gaugeFunc(name, help, prometheus.Labels{"protocol": "http/1.1"}, h1)
	m.gaugeFunc(name, help, prometheus.Labels{"protocol": "h2"}, h2)
}

func (m *Metrics) gaugeFunc(name, help string, labels prometheus.Labels, f func() float64) {
	register(m.reg, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
}

// record counts a request that has ended.
func (m *Metrics) record(r sample) {
	m.served.Add(1)
	if r.Outcome.Failed() {
		m.failed.Add(1)
		m.errors[r.ErrorType].Inc()
	}
	c := m.children(r.Status, methodLabel(r.Method))
	c.count.Inc()
	c.duration.Observe(r.Duration.Seconds())
	m.outcomes[r.Outcome].Inc()
	m.credentials[r.Credential].Inc()
	if r.FirstByte > 0 {
		m.firstByte.Observe(r.FirstByte.Seconds())
		m.streams.Observe((r.Duration - r.FirstByte).Seconds())
	}
	m.waits.Observe(r.Queued.Seconds())
	m.requestBytes.Add(float64(r.RequestBytes))
	m.responseBytes.Add(float64(r.ResponseBytes))
}

// Totals are the requests served so far and how many of them failed: ended in
// an error of ours or a broken stream.
func (m *Metrics) Totals() (served, failed uint64) { return m.served.Load(), m.failed.Load() }

func (m *Metrics) children(status int, method string) *children {
	key := series{status, method}
	if c, ok := m.resolved.Load(key); ok {
		return c.(*children)
	}
	label := statusLabel(status)
	c, _ := m.resolved.LoadOrStore(key, &children{
		count:    m.requests.WithLabelValues(label, method),
		duration: m.durations.WithLabelValues(label),
	})
	return c.(*children)
}

// statusLabel keeps the label's set closed: an API that invents codes must not
// invent series.
func statusLabel(status int) string {
	if status < 200 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status)
}

func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	reg.MustRegister(c)
	return c
}
