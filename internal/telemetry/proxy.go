package telemetry

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome says how a request ended.
type Outcome string

// The outcomes.
const (
	Completed     Outcome = "completed"
	ClientGone    Outcome = "client_gone"
	UpstreamError Outcome = "upstream_error"
	UpstreamCut   Outcome = "upstream_cut"
	IdleTimeout   Outcome = "idle_timeout"
	Drained       Outcome = "drained"
	Refused       Outcome = "refused"
)

// Outcomes lists every outcome once.
var Outcomes = []Outcome{Completed, ClientGone, UpstreamError, UpstreamCut, IdleTimeout, Drained, Refused}

// Failed reports whether the outcome is an error of ours or a broken stream.
func (o Outcome) Failed() bool { return o != Completed && o != ClientGone }

// ErrorType says what went wrong between a client and the API.
type ErrorType string

// The error types.
const (
	ErrTimeout        ErrorType = "timeout"
	ErrConnection     ErrorType = "connection"
	ErrTLS            ErrorType = "tls"
	ErrUpstreamCut    ErrorType = "upstream_cut"
	ErrIdleTimeout    ErrorType = "idle_timeout"
	ErrInvalidRequest ErrorType = "invalid_request"
	ErrTooLarge       ErrorType = "too_large"
	ErrOverloaded     ErrorType = "overloaded"
	ErrDraining       ErrorType = "draining"
	ErrInternal       ErrorType = "internal"
)

// ErrorTypes lists every error type once.
var ErrorTypes = []ErrorType{ErrTimeout, ErrConnection, ErrTLS, ErrUpstreamCut, ErrIdleTimeout,
	ErrInvalidRequest, ErrTooLarge, ErrOverloaded, ErrDraining, ErrInternal}

// Credential is the class of a request's credential, never the credential.
type Credential string

// The classes. A placeholder is what a misconfigured gateway sends.
const (
	CredentialOAuth       Credential = "oauth"
	CredentialAPIKey      Credential = "api_key"
	CredentialPlaceholder Credential = "placeholder"
	CredentialNone        Credential = "none"
)

// Credentials lists every class once.
var Credentials = []Credential{CredentialOAuth, CredentialAPIKey, CredentialPlaceholder, CredentialNone}

// Request is what the metrics keep of one proxied request.
type Request struct {
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

// Proxy is the data plane's share of the metrics. Its methods are safe for
// concurrent use.
type Proxy struct {
	Queued      prometheus.Gauge
	Retries     *prometheus.CounterVec
	LastRequest prometheus.Gauge

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

	served, failed counter
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

func newProxy(reg prometheus.Registerer, limit int) *Proxy {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	p := &Proxy{
		reg:    reg,
		Queued: gauge("proxy_requests_queued", "Requests that wait for a place."),
		Retries: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "proxy_retries_total",
			Help: "Upstream attempts that were repeated, by the reason that made it safe."}, []string{"reason"})),
		LastRequest: gauge("tailnet_last_request_timestamp_seconds", "When the last proxied request came in; evidence that peers reach us."),
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
	p.errors = closedSet(reg, "proxy_upstream_errors_total", "Requests that ended in an error of ours or a broken stream, by what went wrong.", "error_type", ErrorTypes)
	p.outcomes = closedSet(reg, "proxy_outcomes_total", "Requests by how they ended.", "outcome", Outcomes)
	p.credentials = closedSet(reg, "proxy_credentials_total", "Requests by the class of their credential.", "class", Credentials)
	gauge("proxy_max_connections", "The limit on requests in flight.").Set(float64(limit))
	return p
}

// closedSet makes a counter for every member, so that each series exists from
// the start.
func closedSet[L ~string](reg prometheus.Registerer, name, help, label string, members []L) map[L]prometheus.Counter {
	vec := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label}))
	set := make(map[L]prometheus.Counter, len(members))
	for _, m := range members {
		set[m] = vec.WithLabelValues(string(m))
	}
	return set
}

// WatchInFlight makes count the source of proxy_requests_in_flight. Call once.
func (p *Proxy) WatchInFlight(count func() float64) {
	p.gaugeFunc("proxy_requests_in_flight", "Proxied requests that run now.", nil, count)
}

// WatchReplayBuffer makes bytes the source of proxy_replay_buffer_bytes. Call
// once.
func (p *Proxy) WatchReplayBuffer(bytes func() float64) {
	p.gaugeFunc("proxy_replay_buffer_bytes", "Memory that request bodies hold in order to be repeatable.", nil, bytes)
}

// WatchConnections makes the functions the sources of
// proxy_upstream_connections. Call once.
func (p *Proxy) WatchConnections(h1, h2 func() float64) {
	const name, help = "proxy_upstream_connections", "Open connections to the API."
	p.gaugeFunc(name, help, prometheus.Labels{"protocol": "http/1.1"}, h1)
	p.gaugeFunc(name, help, prometheus.Labels{"protocol": "h2"}, h2)
}

func (p *Proxy) gaugeFunc(name, help string, labels prometheus.Labels, f func() float64) {
	register(p.reg, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
}

// Record counts a request that has ended.
func (p *Proxy) Record(r Request) {
	p.served.add()
	if r.Outcome.Failed() {
		p.failed.add()
		p.errors[r.ErrorType].Inc()
	}
	c := p.children(r.Status, methodLabel(r.Method))
	c.count.Inc()
	c.duration.Observe(r.Duration.Seconds())
	p.outcomes[r.Outcome].Inc()
	p.credentials[r.Credential].Inc()
	if r.FirstByte > 0 {
		p.firstByte.Observe(r.FirstByte.Seconds())
		p.streams.Observe((r.Duration - r.FirstByte).Seconds())
	}
	p.waits.Observe(r.Queued.Seconds())
	p.requestBytes.Add(float64(r.RequestBytes))
	p.responseBytes.Add(float64(r.ResponseBytes))
}

// Totals are the requests served so far and how many of them failed: ended in
// an error of ours or a broken stream.
func (p *Proxy) Totals() (served, failed uint64) { return p.served.value(), p.failed.value() }

func (p *Proxy) children(status int, method string) *children {
	key := series{status, method}
	if c, ok := p.resolved.Load(key); ok {
		return c.(*children)
	}
	label := statusLabel(status)
	c, _ := p.resolved.LoadOrStore(key, &children{
		count:    p.requests.WithLabelValues(label, method),
		duration: p.durations.WithLabelValues(label),
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
