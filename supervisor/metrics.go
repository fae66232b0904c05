package supervisor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/messages"
)

// The services' gauges are computed from the accounts at each scrape, so that
// none can outlive what it tells.
var (
	upDesc = prometheus.NewDesc("supervisor_service_up",
		"1 while the service runs.", []string{"service"}, nil)
	uptimeDesc = prometheus.NewDesc("supervisor_service_uptime_seconds",
		"How long the service has run since it last started; 0 while it does not.", []string{"service"}, nil)
	restartsDesc = prometheus.NewDesc("supervisor_restarts_total",
		"Times a service ended on its own and was started again.", []string{"service", "reason"}, nil)
	rateDesc = prometheus.NewDesc("supervisor_restarts_last_minute",
		"Restarts of the service in the last minute.", []string{"service"}, nil)
	backoffDesc = prometheus.NewDesc("supervisor_backoff",
		"1 while a supervisor waits before it restarts what keeps failing.", []string{"supervisor"}, nil)
)

// Describe and Collect make the accounts a collector.
func (a *accounts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, uptimeDesc, restartsDesc, rateDesc, backoffDesc} {
		ch <- d
	}
}

// Collect computes the metrics.
func (a *accounts) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for _, d := range a.domains {
		gauge(backoffDesc, truth(!d.retryAt.IsZero()), d.name)
		for _, s := range d.services {
			uptime := 0.0
			if s.up {
				uptime = now.Sub(s.since).Seconds()
			}
			gauge(upDesc, truth(s.up), s.name)
			gauge(uptimeDesc, uptime, s.name)
			gauge(rateDesc, float64(s.recent.within(now, time.Minute)), s.name)
			for _, kind := range messages.CauseKinds {
				ch <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(s.ends[kind]), s.name, string(kind))
			}
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// listenerServing shows what the looks at our own port found.
func listenerServing(p *portWatch) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "listener_serving", Help: "1 while a connection to our own proxy port is answered.",
	}, func() float64 { return truth(p.serving(time.Now())) })
}
