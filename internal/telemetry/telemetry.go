// Package telemetry holds what the service tells about itself with: one
// registry, and the logger. What is counted stands beside the code that counts.
//
// Everything is registered once, when the service is built, and survives the
// restart of every actor. Labels come from closed sets of typed constants,
// never from input. No header value, query, body or token passes through here.
package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics is the process's own registry with what tells of the process.
type Metrics struct {
	Registry *prometheus.Registry
}

// New makes the registry.
func New(version string) *Metrics {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "anthropic_oauth_proxy_build_info",
		Help:        "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})).Set(1)
	return &Metrics{Registry: reg}
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	reg.MustRegister(c)
	return c
}
