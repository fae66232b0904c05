package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// labels gathers the values that a metric's label has.
func labels(t *testing.T, reg *prometheus.Registry, name, label string) map[string]bool {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]bool)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label {
					values[l.GetValue()] = true
				}
			}
		}
	}
	return values
}

// Whatever a client or an API invents, no series is added.
func TestLabelsComeFromClosedSets(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg, 10)
	for _, method := range []string{"GET", "POST", "BREW", "get", "", strings.Repeat("X", 1000)} {
		for _, status := range []int{200, 499, 599, 600, 999, 0, -1} {
			m.Ended(&Record{Status: status, Method: method, Outcome: Completed, By: ByUpstream, Phase: InStream, Credential: CredentialNone})
		}
	}
	if got := labels(t, reg, "proxy_requests_total", "method"); len(got) != 3 || !got["GET"] || !got["POST"] || !got["other"] {
		t.Errorf("methods: %v", got)
	}
	if got := labels(t, reg, "proxy_requests_total", "status"); len(got) != 4 || !got["200"] || !got["499"] || !got["599"] || !got["other"] {
		t.Errorf("statuses: %v", got)
	}
}

// Served counts every request, failed those that ended in an error of ours or
// a broken stream: an API's own error is not ours, nor is a client that left.
func TestTotals(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg, 10)
	failures := map[Outcome]bool{UpstreamError: true, UpstreamCut: true, IdleTimeout: true, Drained: true, Refused: true}
	var wantFailed uint64
	for _, o := range Outcomes {
		r := &Record{Status: 529, Method: "POST", Outcome: o, By: ByProxy, Phase: InStream, Credential: CredentialOAuth}
		if failures[o] {
			r.ErrorType = TypeInternal
			wantFailed++
		}
		m.Ended(r)
	}
	if served, failed := m.Totals(); served != uint64(len(Outcomes)) || failed != wantFailed {
		t.Errorf("served %d, failed %d; want %d and %d", served, failed, len(Outcomes), wantFailed)
	}
}

// Every series of a closed set is there before anything has happened: an alert
// on a rate never meets a series that begins at one.
func TestSeriesExistFromTheStart(t *testing.T) {
	reg := prometheus.NewRegistry()
	NewMetrics(reg, 10)
	for _, tc := range []struct {
		metric, label string
		want          []string
	}{
		{"proxy_retries_total", "reason", words(repeats)},
		{"proxy_upstream_errors_total", "error_type", []string{"connection", "tls", "timeout", "upstream_cut", "idle_timeout"}},
		{"proxy_refusals_total", "reason", []string{"invalid_request", "too_large", "idle_timeout", "overloaded", "draining", "internal"}},
		{"proxy_outcomes_total", "outcome", words(Outcomes)},
		{"proxy_credentials_total", "class", words(Credentials)},
	} {
		got := slices.Sorted(maps.Keys(labels(t, reg, tc.metric, tc.label)))
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s has %q, want %q", tc.metric, got, tc.want)
		}
	}
}

func words[W ~string](set []W) []string {
	all := make([]string, len(set))
	for i, w := range set {
		all[i] = string(w)
	}
	return all
}
