package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/messages"
)

// StateCollector shows the lifecycle and the tailnet as metrics. It reads the
// state at each scrape, so that a gauge cannot outlive what it tells.
type StateCollector struct {
	state func() messages.State
	now   func() time.Time

	phase, connected, reason, impaired, nameDiffers, lastPoll, keyExpiry *prometheus.Desc
}

// NewStateCollector makes a collector over the newest state.
func NewStateCollector(state func() messages.State) *StateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &StateCollector{
		state: state, now: time.Now,
		phase:       desc("lifecycle_state", "1 for the lifecycle's current state.", "state"),
		connected:   desc("tailnet_connected", "1 while peers on the tailnet can be expected to reach us, or checking is off."),
		reason:      desc("tailnet_state", "1 for what the tailnet is now: connected, disabled, or the reason why it is not connected.", "state"),
		impaired:    desc("tailnet_impaired", "1 for each thing that is wrong while the tailnet is connected.", "reason"),
		nameDiffers: desc("tailnet_name_differs", "1 while the node has another name than clients use."),
		lastPoll:    desc("tailnet_last_poll_timestamp_seconds", "When tailscaled was last looked at."),
		keyExpiry:   desc("tailnet_key_expiry_timestamp_seconds", "When the node key expires; absent when it does not."),
	}
}

// Describe lists the metrics.
func (c *StateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.phase, c.connected, c.reason, c.impaired, c.nameDiffers, c.lastPoll, c.keyExpiry} {
		ch <- d
	}
}

// Collect computes them.
func (c *StateCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, p := range messages.Phases {
		gauge(c.phase, truth(s.Phase == p), string(p))
	}
	h := healthOf(s, c.now())
	gauge(c.connected, truth(h.Tailnet != string(messages.LinkNotConnected)))
	for _, link := range []messages.Link{messages.LinkConnected, messages.LinkDisabled} {
		gauge(c.reason, truth(h.Tailnet == string(link)), string(link))
	}
	for _, r := range messages.Reasons {
		gauge(c.reason, truth(h.Tailnet == string(messages.LinkNotConnected) && h.Reason == r), string(r))
	}
	for _, i := range messages.Impairments {
		gauge(c.impaired, truth(slices.Contains(h.Impaired, i)), string(i))
	}
	gauge(c.nameDiffers, truth(slices.Contains(h.Impaired, messages.ImpairedNameDiffers)))
	if !s.Tailnet.At.IsZero() {
		gauge(c.lastPoll, seconds(s.Tailnet.At))
	}
	if !s.Tailnet.KeyExpiry.IsZero() {
		gauge(c.keyExpiry, seconds(s.Tailnet.KeyExpiry))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
