package lifecycle

import (
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

// trouble is a look at a port that does not serve.
func trouble(why messages.Trouble, idle bool) messages.EdgeObserved {
	return messages.EdgeObserved{Edge: messages.EdgeStatus{Trouble: why, Detail: "listener: panic: boom", Idle: idle}}
}

var serving = messages.EdgeObserved{}

// life steps a machine second by second.
type life struct {
	t   *testing.T
	m   Machine
	now time.Time
}

func (l *life) step(ev messages.Event) messages.State {
	l.t.Helper()
	next := l.m.Step(l.now, ev)
	check(l.t, l.m, l.now, ev, next)
	l.m = next
	return next.State()
}

// pass ticks for a while; the tailnet is looked at each second and is well.
func (l *life) pass(d time.Duration) messages.State {
	l.t.Helper()
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(time.Second)
		l.step(up(l.now))
	}
	return l.m.State()
}

func (l *life) want(when string, p messages.Phase, why messages.Trouble, because Trigger) {
	l.t.Helper()
	s := l.m.State()
	if s.Phase != p || s.Trouble != why || l.m.Trigger() != because {
		l.t.Fatalf("%s: %s, trouble %q, because of %s; want %s, %q, %s", when, s.Phase, s.Trouble, l.m.Trigger(), p, why, because)
	}
}

// Readiness is what a client would find.
func TestAPortThatDoesNotServe(t *testing.T) {
	for _, why := range messages.Troubles {
		l := &life{t, in(t, messages.Running), epoch}
		began := l.now
		l.step(trouble(why, false))
		l.want("at once", messages.Degraded, why, NotServing)
		s := l.pass(30 * time.Second)
		if !s.TroubleSince.Equal(began) || s.TroubleDetail != "listener: panic: boom" || s.Desired.Ready || !s.Desired.Listen {
			t.Errorf("%s: %+v", why, s)
		}
		l.step(serving)
		l.want("good news", messages.Degraded, why, NotServing)
		l.pass(testLimits.Steady - time.Second)
		l.step(trouble(why, false))
		l.step(serving)
		l.pass(testLimits.Steady - time.Second)
		l.want("good news that did not last", messages.Degraded, why, NotServing)
		s = l.pass(time.Second)
		l.want("good news that lasted", messages.Running, messages.TroubleNone, ServingAgain)
		if !s.TroubleSince.IsZero() || s.TroubleDetail != "" {
			t.Errorf("%s: the trouble is not forgotten: %+v", why, s)
		}
	}
}

func TestAPortLostForGood(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  messages.Phase
		idle  bool
		after time.Duration
	}{
		{"nobody is served any more", messages.Running, true, testLimits.LostIdle},
		{"streams go on", messages.Running, false, testLimits.Lost},
		{"the tailnet was lost before", messages.Degraded, true, testLimits.LostIdle},
		{"it never served", messages.Starting, true, testLimits.LostIdle},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &life{t, in(t, c.from), epoch}
			l.step(trouble(messages.TroubleListenerFailing, c.idle))
			if s := l.pass(c.after - time.Second); s.Phase == messages.Stopped {
				t.Fatalf("a second too early: %+v", s.Exit)
			}
			s := l.pass(time.Second)
			if s.Phase != messages.Stopped || s.Exit.Code != 1 || l.m.Trigger() != ServiceLost {
				t.Fatalf("%s because of %s, exit %+v", s.Phase, l.m.Trigger(), s.Exit)
			}
			for _, part := range []string{"proxy port", c.after.String(), "listener: panic: boom", messages.TroubleListenerFailing.Remedy()} {
				if !strings.Contains(s.Exit.Message, part) {
					t.Errorf("the message %q does not say %q", s.Exit.Message, part)
				}
			}
		})
	}
}

// A want of descriptors ends no stream, however long it lasts.
func TestStreamsOutliveAWantOfDescriptors(t *testing.T) {
	l := &life{t, in(t, messages.Running), epoch}
	l.step(trouble(messages.TroubleDescriptors, false))
	l.pass(2 * testLimits.Lost)
	l.want("with streams", messages.Degraded, messages.TroubleDescriptors, NotServing)
	if s := l.step(trouble(messages.TroubleDescriptors, true)); s.Phase != messages.Stopped || s.Exit.Code != 1 {
		t.Errorf("without streams: %s, exit %+v", s.Phase, s.Exit)
	}
}

// The last stream ends while the port is lost: the minute counts from the loss.
func TestStreamsKeepALostServiceAlive(t *testing.T) {
	l := &life{t, in(t, messages.Running), epoch}
	l.step(trouble(messages.TroubleNotAnswering, false))
	l.pass(2 * time.Minute)
	l.want("with streams", messages.Degraded, messages.TroubleNotAnswering, NotServing)
	if s := l.step(trouble(messages.TroubleNotAnswering, true)); s.Phase != messages.Stopped {
		t.Errorf("without streams: %s", s.Phase)
	}
}

// A trouble of ours and one of the tailnet: both must be over.
func TestTwoTroubles(t *testing.T) {
	l := &life{t, in(t, messages.Degraded), epoch} // the tailnet is lost
	l.step(trouble(messages.TroubleDescriptors, false))
	l.want("both", messages.Degraded, messages.TroubleDescriptors, TailnetLost)
	l.pass(2 * time.Second)
	l.want("the tailnet is back", messages.Degraded, messages.TroubleDescriptors, TailnetLost)
	l.step(serving)
	l.pass(testLimits.Steady)
	l.want("the port as well", messages.Running, messages.TroubleNone, ServingAgain)
}

func TestADrainForgetsTrouble(t *testing.T) {
	l := &life{t, in(t, messages.Running), epoch}
	l.step(failing)
	l.step(messages.ShutdownRequested{Cause: "SIGTERM"})
	l.step(failing)
	l.want("draining", messages.Draining, messages.TroubleNone, ShutdownAsked)
}

// What was not seen while we stood still is nobody's fault: SIGSTOP for longer
// than anything is believed changes nothing, if the next looks are good.
func TestAStallOfOurOwn(t *testing.T) {
	const frozen = 30 * time.Second
	timedOut := func(at time.Time) messages.Event { return down(at, messages.ReasonTimeout) }
	for _, c := range []struct {
		name  string
		after []func(at time.Time) messages.Event // in the moment it comes back
	}{
		{"ticks alone", nil},
		{"the look that was out", []func(time.Time) messages.Event{timedOut}},
		{"two of them", []func(time.Time) messages.Event{timedOut, timedOut}},
		{"our own port did not answer", []func(time.Time) messages.Event{
			func(time.Time) messages.Event { return trouble(messages.TroubleNotAnswering, true) },
			func(time.Time) messages.Event { return serving },
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &life{t, in(t, messages.Running), epoch}
			l.now = l.now.Add(frozen)
			l.step(messages.Stalled{For: frozen})
			for _, ev := range c.after {
				l.step(ev(l.now))
			}
			l.now = l.now.Add(testLimits.Patience - time.Millisecond)
			s := l.step(messages.Ticked{})
			l.want("within one look's patience", messages.Running, messages.TroubleNone, ListenerIsReady)
			if s.StalledFor != frozen || !s.StalledAt.Equal(epoch.Add(frozen)) {
				t.Errorf("the state tells of no stall: %+v", s)
			}
			l.step(up(l.now))
			l.pass(time.Minute)
			l.want("a minute later", messages.Running, messages.TroubleNone, ListenerIsReady)
		})
	}
}

// Patience is for one look. What is really lost is told after it.
func TestPatienceEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		event  messages.Event
		reason messages.Reason
	}{
		{"nobody looks", messages.Ticked{}, messages.ReasonStale},
		{"tailscaled is gone", down(epoch.Add(30*time.Second), messages.ReasonRefused), messages.ReasonRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &life{t, in(t, messages.Running), epoch.Add(30 * time.Second)}
			l.step(messages.Stalled{For: 30 * time.Second})
			l.step(c.event)
			l.now = l.now.Add(testLimits.Patience)
			if s := l.step(messages.Ticked{}); s.Phase != messages.Degraded || s.Tailnet.Reason != c.reason {
				t.Errorf("%s for %q", s.Phase, s.Tailnet.Reason)
			}
		})
	}
}

// A start and a drain are given the time that they lost as well.
func TestPatienceWithDeadlines(t *testing.T) {
	for _, p := range []messages.Phase{messages.ConnectingTailnet, messages.Draining} {
		l := &life{t, in(t, p), epoch.Add(10 * time.Minute)}
		if s := l.step(messages.Stalled{For: 10 * time.Minute}); s.Phase != p {
			t.Errorf("%s: after a stall %s", p, s.Phase)
		}
		l.now = l.now.Add(testLimits.Patience)
		if s := l.step(messages.Ticked{}); s.Phase != messages.Stopped {
			t.Errorf("%s: after the patience %s", p, s.Phase)
		}
	}
}
