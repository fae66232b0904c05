package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var testLimits = Limits{
	ConnectTimeout: 60 * time.Second,
	DrainTimeout:   5 * time.Second,
	StaleAfter:     6 * time.Second,
	DrainGrace:     3 * time.Second,
	Patience:       4 * time.Second,
	Steady:         3 * time.Second,
	LostIdle:       time.Minute,
	Lost:           5 * time.Minute,
}

func up(at time.Time) messages.TailnetObserved {
	return messages.TailnetObserved{Status: messages.TailnetStatus{
		Link: messages.LinkConnected, Backend: "Running", Hostname: "proxy", IP: "100.64.0.1", At: at,
	}}
}

func down(at time.Time, r messages.Reason) messages.TailnetObserved {
	return messages.TailnetObserved{Status: messages.TailnetStatus{
		Link: messages.LinkNotConnected, Reason: r, Detail: "so it is", At: at,
	}}
}

var failing = messages.EdgeObserved{Edge: messages.EdgeStatus{
	Trouble: messages.TroubleListenerFailing, Detail: "listener: panic: boom",
}}

// samples has one event of every kind.
var samples = []messages.Event{
	messages.ConfigLoaded{},
	up(epoch),
	messages.ListenerReady{Addr: "127.0.0.1:8080"},
	messages.ListenerFailed{Addr: "127.0.0.1:8080", Err: "bind: address already in use"},
	messages.ShutdownRequested{Cause: "SIGTERM"},
	messages.Interrupted{Cause: "SIGINT"},
	messages.DrainFinished{Cut: 2},
	failing,
	messages.Stalled{For: 9 * time.Second},
	messages.Ticked{},
}

// in returns a machine in each phase, brought there by events at epoch.
func in(t *testing.T, p messages.Phase) Machine {
	t.Helper()
	way := map[messages.Phase][]messages.Event{
		messages.Initializing:      {},
		messages.ConnectingTailnet: {messages.ConfigLoaded{}},
		messages.Starting:          {messages.ConfigLoaded{}, up(epoch)},
		messages.Running:           {messages.ConfigLoaded{}, up(epoch), messages.ListenerReady{}},
		messages.Degraded: {messages.ConfigLoaded{}, up(epoch), messages.ListenerReady{},
			down(epoch, messages.ReasonStopped)},
		messages.Draining: {messages.ConfigLoaded{}, up(epoch), messages.ListenerReady{},
			messages.ShutdownRequested{Cause: "SIGTERM"}},
		messages.Stopped: {messages.ShutdownRequested{Cause: "SIGTERM"}},
	}
	events, ok := way[p]
	if !ok {
		t.Fatalf("no way to the phase %q is written in this test", p)
	}
	m := New(epoch, testLimits)
	for _, ev := range events {
		m = m.Step(epoch, ev)
	}
	if got := m.State().Phase; got != p {
		t.Fatalf("the way to %s ended in %s", p, got)
	}
	return m
}

func TestEveryKindHasASample(t *testing.T) {
	for i, ev := range samples {
		if i >= len(messages.Kinds) || ev.Kind() != messages.Kinds[i] {
			t.Errorf("sample %d is of the kind %s, messages.Kinds is %v", i, ev.Kind(), messages.Kinds)
		}
	}
	if len(samples) != len(messages.Kinds) {
		t.Errorf("%d samples for %d kinds: decide the new event in the table", len(samples), len(messages.Kinds))
	}
}

func TestEveryPairIsDecided(t *testing.T) {
	for _, p := range messages.Phases {
		for _, k := range messages.Kinds {
			if d, ok := table[p][k]; !ok || d.take == nil || d.name == "" {
				t.Errorf("%s x %s is not decided", p, k)
			}
		}
		if got, want := len(table[p]), len(messages.Kinds); got != want {
			t.Errorf("%s decides %d kinds, messages has %d", p, got, want)
		}
	}
	if got, want := len(table), len(messages.Phases); got != want {
		t.Errorf("the table has %d phases, messages has %d", got, want)
	}
	for p := range rules {
		if !slices.Contains(messages.Phases, p) {
			t.Errorf("a rule for the unknown phase %q", p)
		}
	}
}

// TestPairs walks the whole table: what each event does to each phase.
func TestPairs(t *testing.T) {
	const (
		ini = messages.Initializing
		con = messages.ConnectingTailnet
		sta = messages.Starting
		run = messages.Running
		deg = messages.Degraded
		dra = messages.Draining
		sto = messages.Stopped
	)
	// By kind, the phase that follows each of messages.Phases.
	want := map[messages.Kind][]messages.Phase{
		messages.KindConfigLoaded:      {con, con, sta, run, deg, dra, sto},
		messages.KindTailnetObserved:   {ini, sta, sta, run, run, dra, sto}, // the sample is connected
		messages.KindListenerReady:     {ini, con, run, run, deg, dra, sto},
		messages.KindListenerFailed:    {ini, con, sto, sto, sto, dra, sto},
		messages.KindShutdownRequested: {sto, sto, sto, dra, dra, dra, sto},
		messages.KindInterrupted:       {sto, sto, sto, dra, dra, sto, sto},
		messages.KindDrainFinished:     {ini, con, sta, run, deg, sto, sto},
		messages.KindEdgeObserved:      {ini, con, sta, deg, deg, dra, sto}, // the sample does not serve
		messages.KindStalled:           {ini, con, sta, run, deg, dra, sto},
		messages.KindTicked:            {ini, con, sta, run, deg, dra, sto},
	}
	for i, p := range messages.Phases {
		for _, ev := range samples {
			now := epoch.Add(time.Second)
			if _, ok := ev.(messages.TailnetObserved); ok {
				ev = up(now)
			}
			before := in(t, p)
			after := before.Step(now, ev)
			if got := after.State().Phase; got != want[ev.Kind()][i] {
				t.Errorf("%s x %s: in %s, want %s", p, ev.Kind(), got, want[ev.Kind()][i])
			}
			check(t, before, now, ev, after)
		}
	}
}

func TestDesiredByPhase(t *testing.T) {
	want := map[messages.Phase]messages.Desired{
		messages.Initializing:      {},
		messages.ConnectingTailnet: {},
		messages.Starting:          {Listen: true},
		messages.Running:           {Listen: true, Ready: true},
		messages.Degraded:          {Listen: true},
		messages.Draining:          {Drain: true, DrainBy: epoch.Add(testLimits.DrainTimeout)},
		messages.Stopped:           {Stop: true},
	}
	for _, p := range messages.Phases {
		if got := in(t, p).State().Desired; got != want[p] {
			t.Errorf("%s wants %+v, want %+v", p, got, want[p])
		}
	}
}

func TestExits(t *testing.T) {
	sigterm := messages.ShutdownRequested{Cause: "SIGTERM"}
	for _, c := range []struct {
		name  string
		from  messages.Phase
		at    time.Duration
		event messages.Event
		code  int
		says  []string
	}{
		{"cannot bind", messages.Starting, 0, messages.ListenerFailed{Addr: "127.0.0.1:80", Err: "bind: permission denied"},
			1, []string{"127.0.0.1:80", "bind: permission denied", "proxy.listen_addr"}},
		{"cannot rebind", messages.Running, 0, messages.ListenerFailed{Addr: "127.0.0.1:80", Err: "bind: address already in use"},
			1, []string{"127.0.0.1:80", "address already in use", "proxy.listen_addr"}},
		{"cannot rebind while degraded", messages.Degraded, 0, messages.ListenerFailed{Addr: "127.0.0.1:80", Err: "bind: x"},
			1, []string{"127.0.0.1:80", "bind: x"}},
		{"approval wanted", messages.ConnectingTailnet, 0, down(epoch, messages.ReasonNeedsApproval),
			1, []string{"needs_machine_auth", "so it is", messages.ReasonNeedsApproval.Remedy()}},
		{"socket locked", messages.ConnectingTailnet, 0, down(epoch, messages.ReasonPermissionDenied),
			1, []string{"permission_denied", messages.ReasonPermissionDenied.Remedy()}},
		{"nobody ever looked", messages.ConnectingTailnet, time.Minute, messages.Ticked{},
			1, []string{"1m0s", "not_polled", messages.ReasonNotPolled.Remedy()}},
		{"never logged in", messages.ConnectingTailnet, time.Minute, down(epoch.Add(time.Minute), messages.ReasonNeedsLogin),
			1, []string{"1m0s", "needs_login", messages.ReasonNeedsLogin.Remedy()}},
		{"signal before anything", messages.Initializing, 0, sigterm, 0, []string{"SIGTERM", "initializing"}},
		{"signal while connecting", messages.ConnectingTailnet, 0, sigterm, 0, []string{"SIGTERM", "connecting_tailnet"}},
		{"signal at the end of the budget", messages.ConnectingTailnet, time.Minute, sigterm, 0, []string{"SIGTERM"}},
		{"signal while starting", messages.Starting, 0, sigterm, 0, []string{"SIGTERM", "starting"}},
		{"drained", messages.Draining, 0, messages.DrainFinished{}, 0, []string{"SIGTERM", "every request finished"}},
		{"drained by force", messages.Draining, 0, messages.DrainFinished{Cut: 3}, 0, []string{"SIGTERM", "ended 3"}},
		{"interrupted drain", messages.Draining, 0, messages.Interrupted{Cause: "SIGINT"}, 0, []string{"SIGTERM", "SIGINT", "cut short"}},
		{"interrupted while starting", messages.Starting, 0, messages.Interrupted{Cause: "SIGINT"}, 0, []string{"SIGINT", "starting"}},
		{"drain never reported", messages.Draining, 8 * time.Second, messages.Ticked{}, 1, []string{"SIGTERM", "did not report", "service drain"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := in(t, c.from).Step(epoch.Add(c.at), c.event).State()
			if s.Phase != messages.Stopped || s.Exit.Code != c.code {
				t.Errorf("%s, exit %d %q; want stopped, exit %d", s.Phase, s.Exit.Code, s.Exit.Message, c.code)
			}
			for _, part := range c.says {
				if !strings.Contains(s.Exit.Message, part) {
					t.Errorf("the message %q does not say %q", s.Exit.Message, part)
				}
			}
		})
	}
}

// What no waiting heals ends a start, never a service that runs.
func TestHopelessReasonsDoNotStopARunningService(t *testing.T) {
	for _, p := range []messages.Phase{messages.Starting, messages.Running, messages.Degraded} {
		for _, r := range messages.Reasons {
			if r.HealsByWaiting() {
				continue
			}
			m := in(t, p).Step(epoch, down(epoch, r)).Step(epoch, messages.ListenerReady{})
			if got := m.State().Phase; got != messages.Degraded {
				t.Errorf("%s in %s: %s, want degraded", r, p, got)
			}
		}
	}
}
