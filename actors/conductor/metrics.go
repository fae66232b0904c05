package conductor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/messages"
)

// Metrics is what the conductor tells of itself. Make it with [NewMetrics],
// once.
type Metrics struct {
	facts    map[messages.Kind]prometheus.Counter
	step     prometheus.Histogram
	lateness prometheus.Histogram
	lastStep prometheus.Gauge
	stalls   prometheus.Counter
}

var latenessBuckets = []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NewMetrics registers the metrics of the conductor that reads mailbox.
func NewMetrics(reg prometheus.Registerer, mailbox *messages.Mailbox[messages.Event]) *Metrics {
	facts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conductor_facts_total", Help: "Facts that the conductor has handled, ticks included.",
	}, []string{"kind"})
	m := &Metrics{
		facts: make(map[messages.Kind]prometheus.Counter, len(messages.Kinds)),
		step: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conductor_step_seconds", Help: "Time to handle one fact, with its log lines.",
			Buckets: []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5},
		}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conductor_tick_lateness_seconds", Help: "How late a tick came.", Buckets: latenessBuckets,
		}),
		lastStep: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conductor_last_step_timestamp_seconds", Help: "When the conductor last made a step.",
		}),
		stalls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "process_stalls_total", Help: "Times the process stood still for more than a second.",
		}),
	}
	for _, k := range messages.Kinds {
		m.facts[k] = facts.WithLabelValues(string(k))
	}
	reg.MustRegister(facts, m.step, m.lateness, m.lastStep, m.stalls,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conductor_mailbox_depth", Help: "Facts that wait for the conductor.",
		}, func() float64 { return float64(mailbox.Depth()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conductor_mailbox_oldest_seconds", Help: "How long the oldest fact has waited; 0 when none does.",
		}, func() float64 { return mailbox.Oldest(time.Now()).Seconds() }))
	return m
}

// stepped enters one fact that was handled from began to ended.
func (m *Metrics) stepped(k messages.Kind, began, ended time.Time) {
	m.facts[k].Inc()
	m.step.Observe(ended.Sub(began).Seconds())
	m.lastStep.Set(float64(ended.UnixMilli()) / 1000)
}
