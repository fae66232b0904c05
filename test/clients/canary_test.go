package clients

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// A token is sent in every position of a request and of an answer that may
// hold one, through every way a request can end. It may appear in nothing
// that the service says at its most talkative.
func TestTokensStayHome(t *testing.T) {
	secret := canary("CANARY")
	var traces harness.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&traces, r.Body) }))
	defer collector.Close()
	p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{
		LogLevel: "debug", Proxy: "timeout_secs = 0.5\nidle_timeout_secs = 0.5\nmax_body_mib = 1",
		Env: []string{"TS_AUTHKEY=tskey-auth-" + secret, "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=" + secret},
	})
	var said strings.Builder // the service's own answers
	for name, plan := range map[string]sim.Plan{
		"streamed": {Header: []string{"X-Answer: " + secret, "Set-Cookie: " + secret}},
		"limited": {Status: 429, Body: secret, Header: []string{"Anthropic-Ratelimit-Unified-Status: " + secret, "Anthropic-Ratelimit-Unified-5h-Utilization: " + secret,
			"Anthropic-Ratelimit-Requests-Reset: " + secret, "Anthropic-Ratelimit-" + secret + ": 1", "Retry-After: " + secret, "Request-Id: req_" + secret + " x"}},
		"named events": {Stream: true, Body: "event: " + secret + "\ndata: " + secret + "\n\n"},
		"refused":      {Status: 401, Body: secret},
		"redirected":   {Status: 302, Header: []string{"Location: https://127.0.0.1:9/?code=" + secret}, Body: secret},
		"cut":          {CutAfter: 3},
		"cut inside":   {CutAfter: 3, CutInside: true},
		"stalled":      {CutAfter: 3, Stall: true},
		"hanging":      {Hang: true},
		"not HTTP":     {Status: 200, Body: "x", Header: []string{"Content-Length: " + secret}},
		"bad trailer":  {Trailer: true, Header: []string{"Trailer: " + secret}},
	} {
		plan.Name = name
		body := canaryRequest(t, p, plan, secret)
		if plan.Body == "" {
			said.WriteString(body)
		}
	}
	for _, request := range canaryRaw(secret) {
		said.WriteString(raw(t, p.proxy.Addr, request))
	}
	leaveWithCanary(t, p, secret)

	dead := startProxy(t, harness.Options{Upstream: deadUpstream(t), LogLevel: "debug"})
	said.WriteString(canaryRequest(t, dead, sim.Plan{}, secret))
	for name, p := range map[string]*pair{"live": p, "dead": dead} {
		for _, path := range []string{"/", "/metrics", "/health", "/livez", "/readyz", "/debug/tree", "/debug/tree?token=" + secret,
			"/debug/status", "/debug/streams", "/debug/events"} {
			status, body, err := p.proxy.AdminGet(path)
			if err != nil {
				t.Fatalf("%s %s: %v", name, path, err)
			}
			if strings.Contains(body, secret) {
				t.Errorf("%s: %s (%d) holds the token", name, path, status)
			}
		}
		for _, args := range [][]string{
			{"status", "--config", p.proxy.File}, {"status", "--json", "--config", p.proxy.File}, {"doctor", "--config", p.proxy.File}, {"doctor", "--json", "--config", p.proxy.File},
		} {
			_, out := harness.Run(harness.Options{Env: []string{"TS_AUTHKEY=tskey-auth-" + secret}}, args...)
			if strings.Contains(out, secret) || !strings.Contains(out, "127.0.0.1") {
				t.Errorf("%s: %q says %s", name, args, out)
			}
		}
		p.proxy.Stop()
		logs := p.proxy.Logs()
		if !strings.Contains(logs, `"request_id":"req_`) {
			t.Errorf("%s: the log holds no request at all:\n%s", name, logs)
		}
		for line := range strings.Lines(logs) {
			if strings.Contains(line, secret) {
				t.Errorf("%s: the log holds the token: %s", name, line)
			}
		}
	}
	if spans := traces.String(); strings.Contains(spans, secret) || !strings.Contains(spans, `"traceId"`) {
		t.Errorf("the traces hold the token, or nothing: %s", spans)
	}
	if strings.Contains(said.String(), secret) {
		t.Errorf("an error of the service's own holds the token:\n%s", said.String())
	}
}

// canaryRequest sends a request with the token wherever a client can put one,
// and returns the body of the answer.
func canaryRequest(t *testing.T, p *pair, plan sim.Plan, secret string) string {
	t.Helper()
	url := fmt.Sprintf("%s/v1/messages?beta=true&token=%s&%s", p.proxy.URL(), secret, secret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"stream":true,"`+secret+`":"`+secret+strings.Repeat("x", 20_000)+secret+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Trailer": {secret}}
	req.ContentLength = -1
	for _, name := range []string{
		"X-Api-Key", "Cookie", "Anthropic-Beta", "Anthropic-Version", "User-Agent", "X-Stainless-Timeout", "X-Claude-Code-Session-Id", "X-Unknown",
		"Referer", "Origin", "Accept", "Accept-Encoding", "Content-Type", "Proxy-Authorization", "Tailscale-User-Login", "X-Forwarded-For",
		"Forwarded", "Via", "X-Proxy-Request-Id", "Request-Id", "X-Request-Id", "Traceparent", "Upgrade", "Te", "Keep-Alive", "If-None-Match", "Range", "Date",
	} {
		req.Header.Set(name, secret)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Connection", "X-Hop-"+secret)
	req.Header.Set("X-Hop-"+secret, secret)
	req.Header.Set(sim.PlanHeader, plan.Encode())
	req.Host = secret + ".example"
	res, err := p.client.Do(req)
	if err != nil {
		return "" // a plan may break the answer before its headers
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body) // or inside its body
	return string(body)
}

// canaryRaw lists requests that are refused before or while they are read.
func canaryRaw(secret string) []string {
	return []string{
		"POST /?" + secret + " HTTP/1.1\r\nHost: ai\r\nAuthorization: Bearer " + secret + "\r\nContent-Length: 2000000\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n",
		"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: " + secret + "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 500\r\n\r\n" + secret,
		"GET / HTTP/1.1\r\nHost: " + secret + "/\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ai\r\nAuthorization " + secret + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ai\r\nAuthorization: " + secret + "\x00\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ai\r\nX-Big: " + strings.Repeat(secret, 5000) + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ai\r\nExpect: " + secret + "\r\n\r\n",
		"GET http://user:" + secret + "@" + secret + "/v1/models?" + secret + " HTTP/1.1\r\nHost: ai\r\nConnection: close\r\n\r\n",
		"CONNECT " + secret + ":443 HTTP/1.1\r\nHost: ai\r\nProxy-Authorization: " + secret + "\r\n\r\n",
		"GET /v1/models HTTP/1.1\r\nHost: ai\r\nConnection: close\r\nRange: " + secret + "\r\nUpgrade: " + secret + "\r\n\r\n",
		secret + "\r\n\r\n",
	}
}

// leaveWithCanary lets a client go in the middle of its stream.
func leaveWithCanary(t *testing.T, p *pair, secret string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	res := p.post(t, ctx, sim.Plan{Name: "left", Hold: true, Header: []string{"X-Answer: " + secret}}, streamRequest)
	cancel()
	_, _ = io.ReadAll(res.Body)
	await(t, "cancel", p.recorded(t, "left").Ended())
}

// deadUpstream is a URL at which nobody listens.
func deadUpstream(t *testing.T) string {
	t.Helper()
	ports, err := testkit.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("https://127.0.0.1:%d", ports[0])
}
