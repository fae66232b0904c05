package metrics

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pages over a state that the test may change.
func pages(s *messages.State) *Pages {
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewStateCollector(func() messages.State { return *s }))
	return &Pages{
		State:  func() messages.State { return *s },
		Totals: func() (uint64, uint64) { return 12, 3 },
		Events: func() any { return []string{} },
		Tree:   func() any { return []string{"control", "<script>tree"} },
		Feed: status.NewFeed(status.Sources{
			Service:  status.Service{Name: "anthropic-oauth-proxy", Instance: "pod-0", Version: "1.2.3<script>"},
			Recorder: status.NewRecorder(prometheus.NewRegistry(), nil, zerolog.Nop()),
			State:    func() messages.State { return *s },
			Totals:   func() (uint64, uint64) { return 12, 3 },
			Load:     func() status.Load { return status.Load{Active: 4, Waiting: 5, Limit: 9} },
		}.Take),
		// An hour and a bit, so that a slow test still reads 3600.
		Started:  time.Now().Add(-time.Hour - 100*time.Millisecond),
		Gatherer: reg, Log: zerolog.Nop(),
	}
}

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// state in a phase, as the lifecycle publishes it.
func state(p messages.Phase, t messages.TailnetStatus) messages.State {
	now := time.Now()
	s := messages.State{Phase: p, Since: now, Tailnet: t, TailnetSince: now, TickedAt: now}
	switch p {
	case messages.Starting, messages.Degraded:
		s.Desired = messages.Desired{Listen: true}
	case messages.Running:
		s.Desired = messages.Desired{Listen: true, Ready: true}
	case messages.Draining:
		s.Desired = messages.Desired{Listen: true, Drain: true, DrainBy: now}
	case messages.Stopped:
		s.Desired = messages.Desired{Stop: true}
	}
	return s
}

var (
	up       = messages.TailnetStatus{Link: messages.LinkConnected, Hostname: "proxy", IP: "100.64.0.7"}
	impaired = messages.TailnetStatus{Link: messages.LinkConnected, Hostname: "proxy", IP: "100.64.0.7",
		Detail: "no home relay", Impaired: []messages.Impairment{messages.ImpairedNoDERP}}
	off     = messages.TailnetStatus{Link: messages.LinkDisabled}
	login   = messages.TailnetStatus{Link: messages.LinkNotConnected, Reason: messages.ReasonNeedsLogin, Detail: "<b>log in</b>"}
	unknown = messages.TailnetStatus{Reason: messages.ReasonNotPolled}
)

func TestHealthForEveryPhaseAndLink(t *testing.T) {
	for _, tc := range []struct {
		phase    messages.Phase
		tailnet  messages.TailnetStatus
		silent   time.Duration // of the conductor
		status   int
		verdict  string
		link     string
		reason   messages.Reason
		ready    int
		liveness int
	}{
		{messages.Initializing, unknown, 0, 503, "degraded", "not_connected", messages.ReasonNotPolled, 503, 200},
		{messages.ConnectingTailnet, login, 0, 503, "degraded", "not_connected", messages.ReasonNeedsLogin, 503, 200},
		{messages.Starting, up, 0, 503, "degraded", "connected", "", 503, 200},
		{messages.Starting, off, 0, 503, "degraded", "disabled", "", 503, 200},
		{messages.Running, up, 0, 200, "healthy", "connected", "", 200, 200},
		{messages.Running, impaired, 0, 200, "healthy", "connected", "", 200, 200},
		{messages.Running, off, 0, 200, "healthy", "disabled", "", 200, 200},
		{messages.Running, up, StuckAfter - time.Second, 200, "healthy", "connected", "", 200, 200},
		{messages.Running, up, StuckAfter, 503, "degraded", "unknown", "", 503, 503},
		{messages.Running, off, StuckAfter, 503, "degraded", "unknown", "", 503, 503},
		{messages.Degraded, login, 0, 503, "degraded", "not_connected", messages.ReasonNeedsLogin, 503, 200},
		{messages.Degraded, login, StuckAfter, 503, "degraded", "unknown", "", 503, 503},
		{messages.Draining, up, 0, 503, "draining", "connected", "", 503, 200},
		{messages.Draining, login, 0, 503, "draining", "not_connected", messages.ReasonNeedsLogin, 503, 200},
		{messages.Stopped, up, 0, 503, "draining", "connected", "", 503, 200},
	} {
		name := string(tc.phase) + " " + tc.link + " silent " + tc.silent.String()
		t.Run(name, func(t *testing.T) {
			s := state(tc.phase, tc.tailnet)
			s.TickedAt = s.TickedAt.Add(-tc.silent)
			h := pages(&s).Mux()
			w := ask(h, http.MethodGet, "/health")
			var got Health
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("/health is no JSON: %v: %s", err, w.Body)
			}
			if w.Code != tc.status || got.Status != tc.verdict || got.Tailnet != tc.link || got.Reason != tc.reason {
				t.Errorf("/health is %d %q, tailnet %q because %q; want %d %q, %q because %q",
					w.Code, got.Status, got.Tailnet, got.Reason, tc.status, tc.verdict, tc.link, tc.reason)
			}
			if got.State != string(tc.phase) || got.Uptime != 3600 || got.Served != 12 || got.ErrorsAll != 3 || got.Since == nil {
				t.Errorf("/health tells %s", w.Body)
			}
			if stuck := tc.silent >= StuckAfter; stuck != (got.Trouble == messages.TroubleConductorStuck) || stuck != (got.TroubleDetail != "") {
				t.Errorf("after %v of silence the trouble is %q: %q", tc.silent, got.Trouble, got.TroubleDetail)
			}
			if got.Hostname != tc.tailnet.Hostname || got.IP != tc.tailnet.IP {
				t.Errorf("/health names %q at %q, want %q at %q", got.Hostname, got.IP, tc.tailnet.Hostname, tc.tailnet.IP)
			}
			if c := ask(h, http.MethodGet, "/readyz").Code; c != tc.ready {
				t.Errorf("/readyz is %d, want %d", c, tc.ready)
			}
			if c := ask(h, http.MethodGet, "/livez").Code; c != tc.liveness {
				t.Errorf("/livez is %d, want %d", c, tc.liveness)
			}
		})
	}
}

// The keys are a contract; those without a value are absent.
func TestHealthKeys(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tailnet messages.TailnetStatus
		has     []string
		lacks   []string
	}{
		{"connected", up, []string{"tailnet_hostname", "tailnet_ip", "tailnet_since"}, []string{"tailnet_reason", "tailnet_impaired"}},
		{"impaired", impaired, []string{"tailnet_impaired", "tailnet_detail"}, []string{"tailnet_reason"}},
		{"lost", login, []string{"tailnet_reason", "tailnet_detail"}, []string{"tailnet_hostname", "tailnet_ip", "tailnet_impaired"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := state(messages.Degraded, tc.tailnet)
			w := ask(pages(&s).Health(), http.MethodGet, "/health")
			var keys map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil {
				t.Fatal(err)
			}
			for _, k := range append(tc.has, "status", "state", "tailnet", "uptime_seconds", "requests_served", "errors_total") {
				if _, ok := keys[k]; !ok {
					t.Errorf("%s is missing in %s", k, w.Body)
				}
			}
			for _, k := range tc.lacks {
				if v, ok := keys[k]; ok {
					t.Errorf("%s is %v, want it absent", k, v)
				}
			}
		})
	}
}

func TestEveryPage(t *testing.T) {
	s := state(messages.Running, up)
	h := pages(&s).Mux()
	for path, contentType := range map[string]string{
		"/":              "text/html; charset=utf-8",
		"/health":        "application/json",
		"/livez":         "text/plain; charset=utf-8",
		"/readyz":        "text/plain; charset=utf-8",
		"/metrics":       "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"/debug/tree":    "application/json",
		"/debug/status":  "application/json",
		"/debug/streams": "application/json",
		"/debug/events":  "application/json",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := ask(h, method, path)
			if w.Code != 200 || w.Header().Get("Content-Type") != contentType || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
			}
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
			w := ask(h, method, path)
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
			}
		}
	}
	for _, path := range []string{"/nothing", "/debug/pprof/", "/debug/pprof/goroutine", "/debug/vars", "/health/", "/metrics/x"} {
		if w := ask(h, http.MethodGet, path); w.Code != 404 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

// A node's name, a detail and a version come from elsewhere.
func TestStatusPageEscapes(t *testing.T) {
	s := state(messages.Degraded, login)
	s.Tailnet.Hostname = `"><script>alert(1)</script>`
	page := ask(pages(&s).Mux(), http.MethodGet, "/").Body.String()
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("the page has %d scripts, want its own alone:\n%s", n, page)
	}
	if strings.Contains(page, "<b>log in") {
		t.Errorf("the page lets a detail through:\n%s", page)
	}
	for _, text := range []string{"&lt;b&gt;log in&lt;/b&gt;", "needs_login", "of 9, 5 waiting", "1.2.3&lt;script&gt;", "&lt;script&gt;alert(1)"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

// What is wrong with us is told as plainly as what is wrong with the tailnet.
func TestHealthTellsOfOurselves(t *testing.T) {
	for _, trouble := range messages.Troubles {
		s := state(messages.Degraded, up)
		s.Trouble, s.TroubleDetail, s.TroubleSince = trouble, "listener: panic: boom", s.TickedAt.Add(-time.Minute)
		s.StalledAt, s.StalledFor = s.TickedAt.Add(-time.Hour), 9*time.Second
		h := pages(&s).Mux()
		w := ask(h, http.MethodGet, "/health")
		var got Health
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != 503 || got.Status != "degraded" || got.Tailnet != "connected" || got.Trouble != trouble ||
			got.TroubleDetail != "listener: panic: boom" || got.TroubleSince == nil || !got.TroubleSince.Equal(s.TroubleSince) {
			t.Errorf("%s: %d %s", trouble, w.Code, w.Body)
		}
		if got.StalledAt == nil || !got.StalledAt.Equal(s.StalledAt) || got.StalledMS != 9000 {
			t.Errorf("%s: the stall is told as %v, %d ms", trouble, got.StalledAt, got.StalledMS)
		}
		if w := ask(h, http.MethodGet, "/readyz"); w.Code != 503 || w.Body.String() != "not ready: degraded, "+string(trouble)+"\n" {
			t.Errorf("%s: /readyz is %d %q", trouble, w.Code, w.Body)
		}
		if w := ask(h, http.MethodGet, "/livez"); w.Code != 200 {
			t.Errorf("%s: /livez is %d: a restart is ours to decide", trouble, w.Code)
		}
	}
}
