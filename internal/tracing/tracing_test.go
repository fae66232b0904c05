package tracing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(pairs ...string) func(string) string {
	env := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return env[name] }
}

const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

func TestSettings(t *testing.T) {
	const base = "http://127.0.0.1:4318"
	for _, tc := range []struct {
		name string
		env  []string
		want string // the endpoint; empty: no traces
		err  string
	}{
		{"nothing said", nil, "", ""},
		{"an endpoint", []string{endpoint, base}, base + "/v1/traces", ""},
		{"a path of its own", []string{endpoint, base + "/otlp/"}, base + "/otlp/v1/traces", ""},
		{"one for traces", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", base + "/t", endpoint, "http://no"}, base + "/t", ""},
		{"disabled", []string{endpoint, base, "OTEL_SDK_DISABLED", "true"}, "", ""},
		{"no exporter", []string{endpoint, base, "OTEL_TRACES_EXPORTER", "none"}, "", ""},
		{"another exporter", []string{endpoint, base, "OTEL_TRACES_EXPORTER", "zipkin"}, "", "OTEL_TRACES_EXPORTER"},
		{"another protocol", []string{endpoint, base, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}, "", "only http/json"},
		{"this protocol", []string{endpoint, base, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}, base + "/v1/traces", ""},
		{"no URL", []string{endpoint, "hunter2"}, "", endpoint},
		{"credentials in it", []string{endpoint, "http://me:hunter2@x"}, "", endpoint},
		{"bad headers", []string{endpoint, base, "OTEL_EXPORTER_OTLP_HEADERS", "hunter2"}, "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"bad timeout", []string{endpoint, base, "OTEL_EXPORTER_OTLP_TIMEOUT", "10s"}, "", "OTEL_EXPORTER_OTLP_TIMEOUT"},
		{"bad sampler", []string{endpoint, base, "OTEL_TRACES_SAMPLER", "jaeger_remote"}, "", "OTEL_TRACES_SAMPLER"},
		{"bad share", []string{endpoint, base, "OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "2"}, "", "OTEL_TRACES_SAMPLER_ARG"},
	} {
		s, err := FromEnvironment(environment(tc.env...), "service")
		got := ""
		if s != nil && err == nil {
			got = s.Endpoint.String()
		}
		if got != tc.want || (err != nil) != (tc.err != "") || err != nil && (!strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %q %v, want %q %q", tc.name, got, err, tc.want, tc.err)
		}
	}
	s, err := FromEnvironment(environment(endpoint, base, "OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = y", "OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=p,service.name=no",
		"OTEL_SERVICE_NAME", "mine", "OTEL_EXPORTER_OTLP_TIMEOUT", "2500"), "service")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(s.Headers, s.Resource, s.Timeout) != "map[api-key:a b x:y] map[k8s.pod.name:p service.name:mine] 2.5s" {
		t.Errorf("settings are %+v", s)
	}
}

func TestParents(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for text, want := range map[string]bool{
		good: true, good[:54] + "0": true, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds": true,
		"": false, "00": false, good + "-x": false, "ff" + good[2:]: false, strings.ToUpper(good): false, good[:40]: false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": false, "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01": false,
	} {
		if p, ok := readParent(text); ok != want || ok && fmt.Sprintf("%x", p.span) != "00f067aa0ba902b7" {
			t.Errorf("%q: %t %+v", text, ok, p)
		}
	}
	if p, _ := readParent(good); !p.sampled {
		t.Error("a sampled parent is not")
	}
	if p, _ := readParent(good[:53] + "00"); p.sampled {
		t.Error("one that is not sampled is")
	}
}

// The share is of the traces, and the same for each part of one.
func TestSampling(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 0.25: 2500, 1: 10000} {
		s := Settings{Share: share}
		n := 0
		for i := range 10000 {
			var trace [16]byte
			trace[8], trace[9] = byte(i*256/10000), byte(i)
			if once, again := s.samples(trace), s.samples(trace); once != again {
				t.Fatal("a trace is sampled now and then")
			}
			if s.samples(trace) {
				n++
			}
		}
		if n < want-100 || n > want+100 {
			t.Errorf("of 10000 traces at %v are %d", share, n)
		}
	}
}

// collector keeps what it is sent.
type collector struct {
	*httptest.Server
	got  chan []byte
	code int
}

func newCollector(t *testing.T, code int) *collector {
	c := &collector{got: make(chan []byte, 100), code: code}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Key") != "k" {
			t.Errorf("it gets %v %v", r.Header, err)
		}
		c.got <- body
		w.WriteHeader(c.code)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) settings(t *testing.T) Settings {
	u, err := url.Parse(c.URL + "/v1/traces")
	if err != nil {
		t.Fatal(err)
	}
	return Settings{Endpoint: u, Headers: map[string]string{"X-Key": "k"}, Timeout: 10 * time.Second, Resource: map[string]string{"service.name": "mine"}, Share: 1, Parent: true}
}

func (e *Exporter) count(t *testing.T, result string) float64 {
	t.Helper()
	var m dto.Metric
	if err := e.results.WithLabelValues(result).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func record() *proxy.Record {
	return &proxy.Record{ID: "req_1", UpstreamID: "req_011C", Method: "POST", Path: "/v1/messages", Accepted: time.Unix(1000, 0), Ended: time.Second, Head: time.Millisecond,
		Status: 529, UpstreamStatus: 529, Outcome: proxy.Completed, By: proxy.ByUpstream, Phase: proxy.InStream, Client: "claude-cli/2.1.330", Credential: proxy.CredentialOAuth}
}

// One span an exchange, in OTLP's own words; the end sends what is waiting.
func TestExport(t *testing.T) {
	c := newCollector(t, 200)
	e := Start(c.settings(t), "v1", zerolog.Nop())
	tap := e.Follow(nil, proxy.Fields{})
	tap.Answered(529, proxy.Fields{})
	tap.Chunk([]byte("x"))
	tap.Ended(record())
	e.Close()
	var doc struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes []map[string]any }
			ScopeSpans []struct{ Spans []map[string]any }
		}
	}
	body := <-c.got
	if err := json.Unmarshal(body, &doc); err != nil || len(doc.ResourceSpans) != 1 || len(doc.ResourceSpans[0].ScopeSpans[0].Spans) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	s := doc.ResourceSpans[0].ScopeSpans[0].Spans[0]
	if len(s["traceId"].(string)) != 32 || len(s["spanId"].(string)) != 16 || s["parentSpanId"] != nil || s["name"] != "POST" || s["kind"] != 2.0 ||
		s["startTimeUnixNano"] != "1000000000000" || s["endTimeUnixNano"] != "1001000000000" {
		t.Errorf("the span is %v", s)
	}
	for _, part := range []string{`{"key":"http.response.status_code","value":{"intValue":"529"}}`, `{"key":"proxy.upstream_request_id","value":{"stringValue":"req_011C"}}`,
		`"status":{"code":2}`, `{"key":"service.name","value":{"stringValue":"mine"}}`, `"name":"head"`, `claude-cli/2.1.330`} {
		if !strings.Contains(string(body), part) {
			t.Errorf("%s is missing in %s", part, body)
		}
	}
	if n := e.count(t, sent); n != 1 {
		t.Errorf("%v are counted as sent", n)
	}
}

// A collector that refuses, or is away, costs spans and a line a minute.
func TestACollectorThatFails(t *testing.T) {
	var said bytes.Buffer
	c := newCollector(t, 503)
	e := Start(c.settings(t), "v1", zerolog.New(&said))
	for range 2 * batch {
		e.Follow(nil, proxy.Fields{}).Ended(record())
	}
	e.Close()
	if n := e.count(t, failed); n != 2*batch {
		t.Errorf("%v are counted as failed", n)
	}
	if strings.Count(said.String(), `"event":"traces_failed"`) != 1 || !strings.Contains(said.String(), "answered 503") {
		t.Errorf("it says %s", said.String())
	}
}

// One that hangs does not hold up the end.
func TestTheEndDoesNotWaitForACollector(t *testing.T) {
	release := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hung.Close()
	defer close(release)
	u, err := url.Parse(hung.URL)
	if err != nil {
		t.Fatal(err)
	}
	e := Start(Settings{Endpoint: u, Timeout: time.Hour, Share: 1}, "v1", zerolog.Nop())
	e.Follow(nil, proxy.Fields{}).Ended(record())
	e.Close()
	if n := e.count(t, failed); n != 1 {
		t.Errorf("%v are counted as failed", n)
	}
}

// A parent decides, unless it is not asked; who is not sampled is not followed.
func TestTheParentDecides(t *testing.T) {
	for _, tc := range []struct {
		share  float64
		parent bool
		want   bool
	}{{1, true, true}, {0, true, false}, {0, false, false}} {
		e := &Exporter{settings: Settings{Share: tc.share, Parent: tc.parent}}
		if got := e.Follow(nil, proxy.Fields{}) != nil; got != tc.want {
			t.Errorf("%+v: followed %t", tc, got)
		}
	}
}
