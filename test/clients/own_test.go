package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// checkOwnError reads an answer that must be an error of the service's own.
func checkOwnError(t *testing.T, name string, res *http.Response, status int, kind string) {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var got struct {
		Type  string
		Error struct {
			Type, Message string
			RequestID     string `json:"request_id"`
		}
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v in %q", name, err, body)
	}
	id := res.Header.Get("X-Proxy-Request-Id")
	if res.StatusCode != status || got.Type != "error" || got.Error.Type != kind || got.Error.Message == "" {
		t.Errorf("%s: got %d %s, want %d %s", name, res.StatusCode, body, status, kind)
	}
	if id == "" || got.RequestID != id || got.Error.RequestID != id {
		t.Errorf("%s: x-proxy-request-id %q, body %s", name, id, body)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s: content-type %q", name, ct)
	}
}

func TestOwnErrors(t *testing.T) {
	dead := startProxy(t, harness.Options{Upstream: deadUpstream(t)})
	checkOwnError(t, "nobody listens", dead.post(t, t.Context(), sim.Plan{}, streamRequest), 502, "api_error")

	stranger, err := sim.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "stranger.pem")
	if err := stranger.WriteFile(caFile); err != nil {
		t.Fatal(err)
	}
	p := start(t, sim.Options{}, harness.Options{Proxy: "max_connections = 1\nqueue_timeout_secs = 0\nmax_body_mib = 1"})
	untrusting := startProxy(t, harness.Options{Upstream: p.api.URL(), CAFile: caFile})
	checkOwnError(t, "a certificate of a stranger", untrusting.post(t, t.Context(), sim.Plan{}, streamRequest), 502, "api_error")
	if n := p.api.Total(); n != 0 {
		t.Errorf("%d requests went through an untrusted connection", n)
	}

	checkOwnError(t, "a body over the limit", p.post(t, t.Context(), sim.Plan{}, pad(1<<20+1)), 413, "request_too_large")
	p.post(t, t.Context(), sim.Plan{Hold: true}, streamRequest)
	res := p.post(t, t.Context(), sim.Plan{}, streamRequest)
	if res.Header.Get("Retry-After") == "" {
		t.Error("a full queue names no retry-after")
	}
	checkOwnError(t, "a full queue", res, 503, "api_error")
	for _, path := range []string{"/health", "/metrics"} {
		if status, _ := p.get(t, http.MethodGet, path); status != 200 {
			t.Errorf("%s waits with the queue: %d", path, status)
		}
	}
}

func (p *pair) get(t *testing.T, method, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.proxy.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, string(text)
}

// Two names of the proxy port are the service's own; every other is the API's.
func TestPagesOnTheProxyPort(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{})
	res := p.post(t, t.Context(), sim.Plan{Status: 529}, streamRequest)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	status, body := p.get(t, http.MethodGet, "/health")
	var health map[string]any
	if err := json.Unmarshal([]byte(body), &health); err != nil || status != 200 {
		t.Fatalf("/health: %d %s, %v", status, body, err)
	}
	// The API's own error answer is no error of ours.
	for key, want := range map[string]any{"status": "healthy", "tailnet": "disabled", "requests_served": 1.0, "errors_total": 0.0} {
		if health[key] != want {
			t.Errorf("/health: %s is %v, want %v", key, health[key], want)
		}
	}
	_, metrics := p.get(t, http.MethodGet, "/metrics")
	for _, want := range []string{
		`proxy_requests_total{method="POST",status="529"} 1`, `proxy_outcomes_total{outcome="completed"} 1`, `proxy_credentials_total{class="oauth"} 1`,
		`lifecycle_state{state="running"} 1`, `supervisor_service_up{service="listener"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, path := range []string{"/health", "/metrics"} {
		if status, _ := p.get(t, http.MethodPost, path); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, status)
		}
		if status, body := p.get(t, http.MethodHead, path); status != 200 || body != "" {
			t.Errorf("HEAD %s: %d %q", path, status, body)
		}
	}
	if n := p.api.Total(); n != 1 {
		t.Errorf("%d requests reached the API, want the first alone", n)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/debug/tree", "/"} {
		before := p.api.Total()
		if p.get(t, http.MethodGet, path); p.api.Total() != before+1 {
			t.Errorf("%s did not reach the API", path)
		}
	}
}

// One line a request, written when it ends, says how it ended.
func TestAccessLog(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{Proxy: "timeout_secs = 0.3"})
	for _, c := range []struct {
		plan    sim.Plan
		status  int
		outcome string
	}{
		{sim.Plan{Name: "whole"}, 200, "completed"},
		{sim.Plan{Name: "refused by the API", Status: 429}, 429, "completed"},
		{sim.Plan{Name: "cut", CutAfter: 2}, 200, "upstream_cut"},
		{sim.Plan{Name: "hanging", Hang: true}, 504, "upstream_error"},
	} {
		res := p.post(t, t.Context(), c.plan, streamRequest)
		_, _ = io.Copy(io.Discard, res.Body) // a cut one ends with an error
		line := p.logLine(t, res.Header.Get("X-Proxy-Request-Id"))
		for key, want := range map[string]any{
			"status": float64(c.status), "outcome": c.outcome, "method": "POST", "path": "/v1/messages", "attempts": 1.0, "credential": "oauth",
		} {
			if line[key] != want {
				t.Errorf("%s: %s is %v, want %v in %v", c.plan.Name, key, line[key], want, line)
			}
		}
		if id := res.Header.Get("Request-Id"); line["upstream_request_id"] != id {
			t.Errorf("%s: upstream_request_id is %v, want %q", c.plan.Name, line["upstream_request_id"], id)
		}
	}
}

// logLine returns the one line that tells how a request ended. It may follow
// the answer by a moment.
func (p *pair) logLine(t *testing.T, id string) map[string]any {
	t.Helper()
	metric := fmt.Sprintf(`"request_id":%q`, id)
	var found []string
	p.poll(t, "a log line with "+metric, func() bool {
		found = found[:0]
		for line := range strings.Lines(p.proxy.Logs()) {
			if strings.Contains(line, metric) && strings.Contains(line, `"outcome"`) {
				found = append(found, line)
			}
		}
		return len(found) > 0
	})
	var fields map[string]any
	if err := json.Unmarshal([]byte(found[0]), &fields); err != nil || len(found) != 1 {
		t.Fatalf("%d lines %q, %v", len(found), found, err)
	}
	return fields
}
