package proxy

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what the data plane counts. It is registered once and outlives the
// restart of every actor. Its methods are safe for concurrent use.
type Metrics struct {
	queued      prometheus.Gauge
	retries     map[repeat]prometheus.Counter
	lastRequest prometheus.Gauge

	reg           prometheus.Registerer
	requests      *prometheus.CounterVec
	durations     *prometheus.HistogramVec
	errors        map[ErrorType]prometheus.Counter // of the API and the path to it
	refusals      map[ErrorType]prometheus.Counter // of our own
	endings       map[way]prometheus.Counter       // all that the table knows
	ends          *prometheus.CounterVec
	outcomes      map[Outcome]prometheus.Counter
	credentials   map[Credential]prometheus.Counter
	firstByte     prometheus.Histogram
	streams       prometheus.Histogram
	waits         prometheus.Histogram
	upstreamWait  prometheus.Histogram
	overhead      prometheus.Histogram
	requestBytes  prometheus.Counter
	responseBytes prometheus.Counter

	// resolved keeps the children of requests and durations by status and
	// method, so that a request pays for no label lookup.
	resolved sync.Map // series -> *children

	served, failed atomic.Uint64
}

// way is how and where an exchange ended.
type way struct {
	outcome Outcome
	by      Party
	in      Phase
}

// ways are those that the table of endings knows. What the client is to blame
// for is the tailnet's while that is lost.
func ways() []way {
	var all []way
	add := func(w way) {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	for _, r := range table {
		for _, in := range r.in {
			add(way{r.outcome, r.by, in})
			if r.by == ByClient {
				add(way{r.outcome, ByTailnet, in})
			}
		}
	}
	return all
}

// typesOf are the error types of the endings for which of holds.
func typesOf(of func(row) bool) []ErrorType {
	var all []ErrorType
	for _, r := range table {
		if r.errorType != "" && of(r) && !slices.Contains(all, r.errorType) {
			all = append(all, r.errorType)
		}
	}
	return all
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
	// What the proxy adds is well under a millisecond.
	overheadBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
	latencyBucket   = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
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
		upstreamWait:  histogram("proxy_upstream_wait_seconds", "From the moment the API had been given a whole request to the head of its answer.", latencyBucket),
		overhead:      histogram("proxy_overhead_seconds", "What passed until the head of the API's answer went to the client and was spent neither in line nor on client or API.", overheadBuckets),
		requestBytes:  counter("proxy_request_bytes_total", "Bytes of request bodies read from clients."),
		responseBytes: counter("proxy_response_bytes_total", "Bytes of response bodies written to clients."),
	}
	m.retries = closedSet(reg, "proxy_retries_total", "Upstream attempts that were repeated, by the reason that made it safe.", "reason", repeats)
	m.errors = closedSet(reg, "proxy_upstream_errors_total", "Requests that the API or the path to it failed, by what went wrong.", "error_type",
		typesOf(func(r row) bool { return r.by == ByUpstream }))
	m.refusals = closedSet(reg, "proxy_refusals_total", "Requests that were refused, or ended by a bug or a drain, by the reason.", "reason",
		typesOf(func(r row) bool { return r.by != ByUpstream }))
	m.outcomes = closedSet(reg, "proxy_outcomes_total", "Requests by how they ended.", "outcome", Outcomes)
	m.credentials = closedSet(reg, "proxy_credentials_total", "Requests by the class of their credential.", "class", Credentials)
	m.ends = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "proxy_endings_total",
		Help: "Requests by how they ended, who ended them and in which phase."}, []string{"outcome", "ended_by", "ended_in"}))
	m.endings = make(map[way]prometheus.Counter)
	for _, w := range ways() {
		m.endings[w] = m.ends.WithLabelValues(string(w.outcome), string(w.by), string(w.in))
	}
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

// Ended counts an exchange: the metrics are a [Sink].
func (m *Metrics) Ended(r *Record) {
	m.served.Add(1)
	if r.Outcome.Failed() {
		m.failed.Add(1)
	}
	switch {
	case r.ErrorType == "":
	case r.By == ByUpstream:
		m.errors[r.ErrorType].Inc()
	default:
		m.refusals[r.ErrorType].Inc()
	}
	c := m.children(r.Status, methodLabel(r.Method))
	c.count.Inc()
	c.duration.Observe(r.Ended.Seconds())
	m.outcomes[r.Outcome].Inc()
	m.ending(way{r.Outcome, r.By, r.Phase}).Inc()
	m.credentials[r.Credential].Inc()
	if r.FirstByte > 0 {
		m.firstByte.Observe(r.FirstByte.Seconds())
		m.streams.Observe((r.Ended - r.FirstByte).Seconds())
	}
	if r.UpstreamWait >= 0 {
		m.upstreamWait.Observe(r.UpstreamWait.Seconds())
	}
	if r.Overhead >= 0 {
		m.overhead.Observe(r.Overhead.Seconds())
	}
	m.waits.Observe(r.Queued.Seconds())
	m.requestBytes.Add(float64(r.RequestBytes))
	m.responseBytes.Add(float64(r.ResponseBytes))
}

func (m *Metrics) ending(w way) prometheus.Counter {
	if c := m.endings[w]; c != nil {
		return c
	}
	return m.ends.WithLabelValues(string(w.outcome), string(w.by), string(w.in))
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
