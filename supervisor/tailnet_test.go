package supervisor

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit/tailscaled"
	"anthropic-oauth-proxy/messages"
)

// A tailnet that is lost takes readiness and nothing else; its return brings
// it back. Health, metrics and the probes tell the same at each moment.
func TestTheTailnetComesAndGoes(t *testing.T) {
	api := newTicker(t, 5*time.Millisecond)
	close(api.finish) // every stream ends after its first event
	d := tailscaled.New(t, "Running")
	s := start(t, setting{upstream: api.URL, socket: d.Socket})
	for _, phase := range []struct {
		backend   string
		phase     messages.Phase
		health    int
		tells     []string
		connected float64
		reason    string // of tailnet_state
	}{
		{"Running", messages.Running, 200, []string{`"healthy"`, `"connected"`, `"anthropic-oauth-proxy"`, `"100.64.0.7"`}, 1, "connected"},
		{"Stopped", messages.Degraded, 503, []string{`"degraded"`, `"not_connected"`, `"stopped"`, `"tailnet_since"`}, 0, "stopped"},
		{"NeedsLogin", messages.Degraded, 503, []string{`"degraded"`, `"not_connected"`}, 0, ""},
		{"NeedsMachineAuth", messages.Degraded, 503, []string{`"needs_machine_auth"`}, 0, "needs_machine_auth"},
		{"Running", messages.Running, 200, []string{`"healthy"`, `"connected"`}, 1, "connected"},
	} {
		d.Set(phase.backend)
		s.eventually(phase.backend+" is noticed", func() bool {
			state := s.system.state.Get()
			return state.Phase == phase.phase && state.Tailnet.Backend == phase.backend
		})
		code, body := s.page("/health")
		if code != phase.health {
			t.Errorf("%s: /health is %d %s", phase.backend, code, body)
		}
		for _, text := range phase.tells {
			if !strings.Contains(body, text) {
				t.Errorf("%s: /health lacks %s: %s", phase.backend, text, body)
			}
		}
		if code, _ := s.page("/readyz"); code != phase.health {
			t.Errorf("%s: /readyz is %d", phase.backend, code)
		}
		if code, _ := s.page("/livez"); code != http.StatusOK {
			t.Errorf("%s: /livez is %d: a restart mends no tailnet", phase.backend, code)
		}
		if got := s.metric("tailnet_connected"); got != phase.connected {
			t.Errorf("%s: tailnet_connected is %v", phase.backend, got)
		}
		if phase.reason != "" && s.metric(`tailnet_state{state="`+phase.reason+`"}`) != 1 {
			t.Errorf("%s: tailnet_state does not say %s", phase.backend, phase.reason)
		}
		if got := s.metric(`lifecycle_state{state="` + string(phase.phase) + `"}`); got != 1 {
			t.Errorf("%s: lifecycle_state{%s} is %v", phase.backend, phase.phase, got)
		}
		if err := listen(direct, s.edge, 1); err != nil {
			t.Errorf("%s: who still reaches us is served, but: %v", phase.backend, err)
		}
	}
}

// Callers are named in the log when that is asked for, and only then.
func TestCallersAreNamed(t *testing.T) {
	for _, tc := range []struct {
		setting string
		named   bool
	}{{"identify_callers = true", true}, {"identify_callers = false", false}} {
		t.Run(tc.setting, func(t *testing.T) {
			api := newTicker(t, time.Millisecond)
			close(api.finish)
			s := start(t, setting{upstream: api.URL, socket: tailscaled.New(t, "Running").Socket, tailnet: tc.setting})
			logged := 0
			named := func() bool { // a name that comes late is done without: the next request asks again
				if err := listen(direct, s.edge, 1); err != nil {
					t.Fatal(err)
				}
				logged++
				s.eventually("the request is logged", func() bool { return s.log.count("request") == logged })
				return strings.Contains(s.log.String(), `"caller":"laptop","caller_tags":["tag:dev"]`)
			}
			if tc.named {
				s.eventually("the caller is named", named)
			} else if named() {
				t.Error("the caller is named")
			}
		})
	}
}
