package metrics

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/messages"
)

// gathered maps each series, "name" or "name{value of its one label}", to its
// value.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetValue() + "}"
			}
			all[name] = m.GetGauge().GetValue()
		}
	}
	return all
}

// one of a list, the zero value of it included.
func one[T any](r *rand.Rand, list []T) (v T) {
	if i := r.IntN(len(list) + 1); i < len(list) {
		return list[i]
	}
	return v
}

func randomState(r *rand.Rand, now time.Time) messages.State {
	s := messages.State{
		Phase:    one(r, messages.Phases[1:]),
		TickedAt: now.Add(-time.Duration(r.Int64N(int64(2 * StuckAfter)))),
	}
	if s.Phase == "" {
		s.Phase = messages.Initializing
	}
	switch r.IntN(4) {
	case 0:
		s.Tailnet = messages.TailnetStatus{Reason: messages.ReasonNotPolled}
	case 1:
		s.Tailnet = messages.TailnetStatus{Link: messages.LinkDisabled, At: now}
	case 2:
		s.Tailnet = messages.TailnetStatus{Link: messages.LinkNotConnected, Reason: messages.Reasons[r.IntN(len(messages.Reasons))], At: now}
	case 3:
		s.Tailnet = messages.TailnetStatus{Link: messages.LinkConnected, Hostname: "proxy", IP: "100.64.0.7", At: now}
		if i := one(r, messages.Impairments); i != "" {
			s.Tailnet.Impaired = []messages.Impairment{i}
		}
		if r.IntN(2) == 0 {
			s.Tailnet.KeyExpiry = now.Add(time.Hour)
		}
	}
	// The lifecycle never runs without a tailnet.
	up := s.Tailnet.Link == messages.LinkConnected || s.Tailnet.Link == messages.LinkDisabled
	if s.Phase == messages.Running && !up {
		s.Phase = messages.Degraded
	}
	s.Desired.Ready = s.Phase == messages.Running
	return s
}

// Whatever the state, the metrics and /health tell the same story.
func TestMetricsAgreeWithHealth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	for i := range 2000 {
		s := randomState(r, now)
		c := NewStateCollector(func() messages.State { return s })
		c.now = func() time.Time { return now }
		series := gathered(t, c)
		h := healthOf(s, now)
		name := fmt.Sprintf("state %d (%+v)", i, s)

		told := h.Tailnet
		if told == string(messages.LinkNotConnected) {
			told = string(h.Reason)
		}
		expectOnly(t, name, series, "tailnet_state", tailnetStates(), []string{told})
		expectOnly(t, name, series, "lifecycle_state", names(messages.Phases), []string{h.State})
		expectOnly(t, name, series, "tailnet_impaired", names(messages.Impairments), names(h.Impaired))

		connected := h.Tailnet != string(messages.LinkNotConnected)
		if (series["tailnet_connected"] == 1) != connected {
			t.Errorf("%s: tailnet_connected is %v, health says %q", name, series["tailnet_connected"], h.Tailnet)
		}
		if h.Status == "healthy" && !connected {
			t.Errorf("%s: healthy without a tailnet", name)
		}
		expectTime(t, name, series, "tailnet_last_poll_timestamp_seconds", s.Tailnet.At)
		expectTime(t, name, series, "tailnet_key_expiry_timestamp_seconds", s.Tailnet.KeyExpiry)
		if t.Failed() {
			return
		}
	}
}

func tailnetStates() []string {
	return append(names(messages.Reasons), string(messages.LinkConnected), string(messages.LinkDisabled))
}

func names[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}

// expectOnly holds a gauge with a closed label set to 1 for some of its values
// and 0 for all others.
func expectOnly(t *testing.T, name string, series map[string]float64, gauge string, labels, on []string) {
	t.Helper()
	for _, l := range labels {
		v, there := series[gauge+"{"+l+"}"]
		want := truth(slices.Contains(on, l))
		if !there || v != want {
			t.Errorf("%s: %s{%s} is %v (there: %t), want %v", name, gauge, l, v, there, want)
		}
	}
}

func expectTime(t *testing.T, name string, series map[string]float64, gauge string, at time.Time) {
	t.Helper()
	v, there := series[gauge]
	if there == at.IsZero() || there && int64(v) != at.Unix() {
		t.Errorf("%s: %s is %v (there: %t), want %v", name, gauge, v, there, at)
	}
}
