package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the samples were taken.
var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	at := noon.Add(-d)
	return &at
}

// well is a service with which nothing is wrong.
func well() Snapshot {
	s := Snapshot{
		Version: Version, At: noon,
		Service:   Service{Name: "anthropic-oauth-proxy", Instance: "anthropic-oauth-proxy-0", Version: "v0.4.0", Started: noon.Add(-6 * 24 * time.Hour), Served: 81234, Failed: 17},
		Lifecycle: Lifecycle{Phase: messages.Running, Since: noon.Add(-2 * time.Hour), Ready: true, SilentSeconds: .4},
		Port:      Port{Addr: "127.0.0.1:8080", Serving: true, Wanted: true},
		Tree: []Domain{
			domain("control", "conductor", "drain"), domain("edge", "listener"), domain("tailnet", "tailnet"), domain("admin", "metrics"),
		},
		Tailnet: Tailnet{Link: messages.LinkConnected, Backend: "Running", Hostname: "anthropic-oauth-proxy", Expected: "anthropic-oauth-proxy",
			IP: "100.64.0.7", Since: ago(5 * 24 * time.Hour), LookedAt: ago(time.Second), LastRequest: ago(100 * time.Millisecond)},
		Load: Load{Active: 3, Limit: 1000},
		Journal: []Entry{
			{*ago(2 * time.Hour), "degraded → running", "tailnet connected"},
			{*ago(2*time.Hour + time.Minute), "running → degraded", "connection_refused"},
		},
		API: API{URL: "https://api.anthropic.com", Connections: []Connection{
			{Protocol: "HTTP/2", AgeSeconds: 540, Streams: 2, RTTSeconds: .021, HandshakeSeconds: .038}, {Protocol: "HTTP/2", AgeSeconds: 60, Streams: 1, RTTSeconds: .019, Doubtful: true},
		}},
		Streams: []Stream{
			stream("1", "stream", 31*time.Minute, 200*time.Millisecond), stream("2", "stream", 12*time.Minute, 3*time.Second), stream("3", "wait", 41*time.Second, -1),
		},
	}
	traffic(&s, func(int) Ending {
		return Ending{Answer: 200, Whole: true, FirstByte: 900 * time.Millisecond, Overhead: 400 * time.Microsecond, Client: "claude-cli/2.1.330"}
	})
	return s
}

func domain(name string, services ...string) Domain {
	d := Domain{Name: name}
	for _, s := range services {
		d.Services = append(d.Services, ServiceLife{Name: s, Up: true, Incarnation: 1, Since: ago(6 * 24 * time.Hour)})
	}
	return d
}

func stream(id, phase string, age, quiet time.Duration) Stream {
	s := Stream{ID: fmt.Sprintf("req_%032s", id), Phase: phase, AgeSeconds: age.Seconds(), Sent: 76_000, Credential: "oauth", Path: "/v1/messages"}
	if quiet >= 0 {
		q := quiet.Seconds()
		s.QuietSeconds, s.Received = &q, 1_900_000
	}
	return s
}

// traffic is 15 minutes of ten requests a step, each as of says of its step.
func traffic(s *Snapshot, of func(step int) Ending) {
	r := NewRecorder(prometheus.NewRegistry(), nil, zerolog.Nop())
	for step := range Steps {
		at := noon.Add(-time.Duration(Steps-1-step) * Step)
		for range 10 {
			e := of(step)
			e.ID = "req_00000000000000000000000000000009"
			r.window.begin(at)
			r.window.end(at, e)
			r.clients.count(at, e.Client, classOf(e.Answer))
		}
	}
	url, connections := s.API.URL, s.API.Connections
	s.Traffic, s.API = r.window.read(noon)
	s.API.URL, s.API.Connections = url, connections
	s.Clients = r.clients.read(noon)
}
