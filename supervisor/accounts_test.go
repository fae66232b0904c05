package supervisor

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/testkit/tailscaled"
	"anthropic-oauth-proxy/messages"
)

// tree is what /debug/tree shows, by service.
func (s *stage) tree() map[string]ServiceView {
	s.t.Helper()
	_, body := s.page("/debug/tree")
	var list []ServiceView
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		s.t.Fatalf("read /debug/tree: %v: %s", err, body)
	}
	all := make(map[string]ServiceView)
	for _, v := range list {
		all[v.Service] = v
	}
	return all
}

func TestTheTree(t *testing.T) {
	s := start(t, setting{socket: tailscaled.New(t, "Running").Socket})
	supervisors := map[string]string{"conductor": "control", "drain": "control", "listener": "edge", "metrics": "admin", "port": "admin", "tailnet": "tailnet"}
	views := s.tree()
	if len(views) != len(supervisors) {
		t.Errorf("/debug/tree shows %v", views)
	}
	for service, supervisor := range supervisors {
		v := views[service]
		if v.Supervisor != supervisor || !v.Up || v.Incarnation != 1 || v.Restarts != 0 || v.LastMinute != 0 || v.LastCause != "" || len(v.Causes) != 0 || v.BackingOff {
			t.Errorf("%s is shown as %+v", service, v)
		}
		if up := s.metric(`supervisor_service_up{service="` + service + `"}`); up != 1 {
			t.Errorf("supervisor_service_up of %s is %v", service, up)
		}
		if uptime := s.metric(`supervisor_service_uptime_seconds{service="` + service + `"}`); uptime <= 0 {
			t.Errorf("supervisor_service_uptime_seconds of %s is %v", service, uptime)
		}
		for _, reason := range reasons {
			if n := s.restarts(service, reason); n != 0 {
				t.Errorf("%s: %v restarts by %s before any failure", service, n, reason)
			}
		}
	}
	if _, there := start(t, setting{}).tree()["tailnet"]; there {
		t.Error("with mode off somebody watches the tailnet")
	}
}

// Each way in which a service may end is counted as what it was.
func TestReasonsOfRestarts(t *testing.T) {
	s := start(t, setting{socket: tailscaled.New(t, "Running").Socket})
	for service, a := range s.actors {
		for _, how := range reasons {
			if !a.failAndReturn(how) {
				t.Fatalf("%s did not come back after its end by %s", service, how)
			}
			s.eventually(service+" is counted", func() bool { return s.restarts(service, how) == 1 })
			v := s.tree()[service]
			if v.LastCause != how || v.Causes[len(v.Causes)-1].Kind != how || v.Causes[len(v.Causes)-1].Message == "" || !v.Up && !v.BackingOff {
				t.Errorf("%s after its end by %s: %+v", service, how, v)
			}
		}
		if v := s.tree()[service]; v.Restarts != len(reasons) {
			t.Errorf("%s: /debug/tree shows %d restarts, want %d", service, v.Restarts, len(reasons))
		}
	}
	s.await(messages.Running)
	for _, text := range []string{`"cause":"sabotage"`, `"cause":"it returned without an error"`, `"stack":"goroutine`, `"restarts":3`} {
		if !strings.Contains(s.log.String(), text) {
			t.Errorf("the log lacks %s", text)
		}
	}
	if panics, ends := s.log.count("service_panic"), s.log.count("service_ended"); panics != len(s.actors) || ends != 2*len(s.actors) {
		t.Errorf("%d panics and %d other ends are logged", panics, ends)
	}
}

// A watcher that keeps failing is paused; nothing else is delayed by that.
func TestBackoffIsTheFailingDomainsAlone(t *testing.T) {
	s := start(t, setting{socket: tailscaled.New(t, "Running").Socket})
	const gauge = `supervisor_backoff{supervisor="tailnet"}`
	if v := s.metric(gauge); v != 0 {
		t.Fatalf("backoff before any failure: %v", v)
	}
	for range failureThreshold {
		if !s.actors["tailnet"].failAndReturn(byError) {
			t.Fatal("the watcher did not come back")
		}
	}
	s.actors["tailnet"].fail(byError) // the one too many
	s.eventually("the supervisor backs off", func() bool { return s.metric(gauge) == 1 })
	paused := s.tree()
	if v := paused["tailnet"]; v.Up || !v.BackingOff || v.UpSeconds != 0 {
		t.Errorf("the watcher during its backoff: %+v", v)
	}
	for service, v := range paused {
		if service != "tailnet" && (!v.Up || v.BackingOff) {
			t.Errorf("%s during the watcher's backoff: %+v", service, v)
		}
	}
	if up := s.metric(`supervisor_service_up{service="tailnet"}`); up != 0 {
		t.Errorf("supervisor_service_up of the paused watcher is %v", up)
	}
	if !s.actors["listener"].failAndReturn(byError) || s.metric(`supervisor_backoff{supervisor="edge"}`) != 0 {
		t.Error("the listener waited for the watcher")
	}
	s.eventually("the supervisor resumes", func() bool { return s.metric(gauge) == 0 && s.tree()["tailnet"].Up })
	if s.log.count("supervisor_backoff") != 1 || s.log.count("supervisor_resume") != 1 {
		t.Error("the log does not tell of one backoff and one resumption")
	}
}

// poison makes the conductor panic while it handles one event: when it logs
// what that event changed.
type poison struct {
	sentence string
	taken    atomic.Bool
}

func (p *poison) Run(_ *zerolog.Event, _ zerolog.Level, sentence string) {
	if sentence == p.sentence && p.taken.CompareAndSwap(false, true) {
		panic("poison")
	}
}

// An event that kills the conductor takes nothing else with it: what stands
// behind it in the mailbox is handled by the next life.
func TestPoisonEventLosesNothingElse(t *testing.T) {
	p := &poison{sentence: "the tailnet is not connected"}
	d := tailscaled.New(t, "Running")
	s := start(t, setting{socket: d.Socket, hook: p})
	lost := messages.TailnetStatus{Link: messages.LinkNotConnected, Reason: messages.ReasonStopped}
	for _, ev := range []messages.Event{
		messages.TailnetObserved{Status: lost}, messages.ShutdownRequested{Cause: "behind the poison"},
	} {
		if err := s.system.events.Send(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if exit := s.ends(); exit.Code != 0 || !strings.Contains(exit.Message, "behind the poison") {
		t.Errorf("ended with %+v", exit)
	}
	if !p.taken.Load() || s.log.count("service_panic") != 1 {
		t.Errorf("the poison was not taken, or killed more than once")
	}
}
