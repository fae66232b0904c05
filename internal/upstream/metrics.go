package upstream

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// metrics is what the engine counts. Every series is there from the start.
type metrics struct {
	goAways map[Code]prometheus.Counter
	resets  map[Code]prometheus.Counter
	dials   prometheus.Histogram
	errors  map[Cause]prometheus.Counter
	expiry  prometheus.Gauge
	all     []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{
		goAways: make(map[Code]prometheus.Counter), resets: make(map[Code]prometheus.Counter), errors: make(map[Cause]prometheus.Counter),
		dials: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "upstream_dial_seconds", Help: "Time to a connection that is ready for a request: name, TCP, egress proxy and TLS.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "upstream_certificate_expiry_timestamp_seconds", Help: "When the chain that the API showed last ends to be valid; 0 until one was seen.",
		}),
	}
	goAways := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "upstream_goaways_total", Help: "Connections to which the API said goodbye (HTTP/2 GOAWAY), by error code."}, []string{"code"})
	resets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "upstream_resets_total", Help: "Streams that the API reset (HTTP/2 RST_STREAM), by error code."}, []string{"code"})
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "upstream_dial_errors_total", Help: "Connections to the API that could not be made, by cause."}, []string{"cause"})
	for _, c := range Codes() {
		m.goAways[c] = goAways.WithLabelValues(string(c))
		m.resets[c] = resets.WithLabelValues(string(c))
	}
	for _, c := range Causes() {
		m.errors[c] = errs.WithLabelValues(string(c))
	}
	m.all = []prometheus.Collector{goAways, resets, m.dials, errs, m.expiry}
	return m
}

// Describe makes the pool a [prometheus.Collector].
func (p *Pool) Describe(to chan<- *prometheus.Desc) {
	for _, c := range p.metrics.all {
		c.Describe(to)
	}
}

// Collect makes the pool a [prometheus.Collector].
func (p *Pool) Collect(to chan<- prometheus.Metric) {
	for _, c := range p.metrics.all {
		c.Collect(to)
	}
}

// quietLog writes of each kind of trouble once a minute, with a count of what
// it kept to itself.
type quietLog struct {
	log zerolog.Logger

	mu   sync.Mutex
	kept map[Cause]int
	next map[Cause]time.Time
}

const logPause = time.Minute

func newQuietLog(log zerolog.Logger) *quietLog {
	return &quietLog{log: log, kept: make(map[Cause]int), next: make(map[Cause]time.Time)}
}

func (l *quietLog) dialFailed(e *Error) {
	l.mu.Lock()
	now := time.Now()
	if now.Before(l.next[e.Cause]) {
		l.kept[e.Cause]++
		l.mu.Unlock()
		return
	}
	count := l.kept[e.Cause] + 1
	l.kept[e.Cause], l.next[e.Cause] = 0, now.Add(logPause)
	l.mu.Unlock()
	whose := "no connection to the Claude API could be made"
	if e.Cause == CauseDescriptors {
		whose = "no connection to the Claude API could be made: this process or host has run out of sockets"
	}
	l.log.Warn().Str("event", "dial_failed").Str("cause", string(e.Cause)).Int("count", count).AnErr("error", e).Msg(whose)
}
