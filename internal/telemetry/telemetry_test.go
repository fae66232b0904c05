package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// What a library logs may quote a client: its kind is all that is kept.
func TestStandardLogKeepsTheKindAlone(t *testing.T) {
	for _, tc := range []struct{ said, kind string }{
		{"http: TLS handshake error from 127.0.0.1:1: canary", "http"},
		{"http2: server: error reading preface from client canary", "http2"},
		{"error gathering metrics: canary", "error gathering metrics"},
		{"Unsolicited response starting with canary", ""},
		{"canary\xff", ""},
	} {
		var out bytes.Buffer
		StandardLog(zerolog.New(&out), "edge").Print(tc.said)
		var line map[string]string
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%q: logged %q: %v", tc.said, out.String(), err)
		}
		if line["kind"] != tc.kind || line["component"] != "edge" || line["event"] != "library" || line["level"] != "debug" {
			t.Errorf("%q: logged %s", tc.said, out.String())
		}
		if strings.Contains(out.String(), "canary") {
			t.Errorf("%q: quoted in %s", tc.said, out.String())
		}
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, zerolog.InfoLevel)
	log.Debug().Msg("below the level")
	log.Info().Str("event", "one").Msg("first")
	log.Warn().Str("event", "two").Msg("second\nline")
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("two lines are %q", lines)
	}
	for _, l := range lines {
		var line struct {
			Time                  time.Time
			Level, Event, Message string
		}
		if err := json.Unmarshal([]byte(l), &line); err != nil || line.Time.IsZero() || line.Level == "" || line.Event == "" || line.Message == "" {
			t.Errorf("a line is %s (%v)", l, err)
		}
	}
}

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
	m := New("test", 10)
	for _, method := range []string{"GET", "POST", "BREW", "get", "", strings.Repeat("X", 1000)} {
		for _, status := range []int{200, 499, 599, 600, 999, 0, -1} {
			m.Proxy.Record(Request{Status: status, Method: method, Outcome: Completed, Credential: CredentialNone})
		}
	}
	if got := labels(t, m.Registry, "proxy_requests_total", "method"); len(got) != 3 || !got["GET"] || !got["POST"] || !got["other"] {
		t.Errorf("methods: %v", got)
	}
	if got := labels(t, m.Registry, "proxy_requests_total", "status"); len(got) != 4 || !got["200"] || !got["499"] || !got["599"] || !got["other"] {
		t.Errorf("statuses: %v", got)
	}
}

// Served counts every request, failed those that ended in an error of ours or
// a broken stream: an API's own error is not ours, nor is a client that left.
func TestTotals(t *testing.T) {
	m := New("test", 10)
	failures := map[Outcome]bool{UpstreamError: true, UpstreamCut: true, IdleTimeout: true, Drained: true, Refused: true}
	var wantFailed uint64
	for _, o := range Outcomes {
		r := Request{Status: 529, Method: "POST", Outcome: o, Credential: CredentialOAuth}
		if failures[o] {
			r.ErrorType = ErrInternal
			wantFailed++
		}
		m.Proxy.Record(r)
	}
	if served, failed := m.Proxy.Totals(); served != uint64(len(Outcomes)) || failed != wantFailed {
		t.Errorf("served %d, failed %d; want %d and %d", served, failed, len(Outcomes), wantFailed)
	}
}
