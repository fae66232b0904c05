package lifecycle

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

// check holds one step against everything that must be true of any step.
func check(t *testing.T, before Machine, now time.Time, ev messages.Event, after Machine) {
	t.Helper()
	was, is := before.State(), after.State()
	fail := func(claim string) {
		t.Helper()
		t.Fatalf("%s\nevent  %T%+v at %v\nbefore %+v\nafter  %+v", claim, ev, ev, now.Sub(epoch), was, is)
	}
	if !is.TickedAt.Equal(now) {
		fail("every step ticks")
	}
	if again := before.Step(now, ev); !reflect.DeepEqual(again, after) {
		fail("same inputs, same outputs")
	}
	if still := after.Step(now, messages.Ticked{}).State(); still.Desired != is.Desired || still.Phase != is.Phase {
		fail("a repeated tick changes nothing")
	}
	if was.Phase == messages.Stopped {
		is.TickedAt = was.TickedAt
		if !reflect.DeepEqual(was, is) {
			fail("stopped is inert")
		}
		return
	}
	checkWishes(is, fail)
	checkOrder(was, is, fail)
	checkDeadlines(before, now, ev, after, fail)
	checkTailnet(before, now, ev, after, fail)
}

func checkWishes(is messages.State, fail func(string)) {
	up := is.Tailnet.Link == messages.LinkConnected || is.Tailnet.Link == messages.LinkDisabled
	d := is.Desired
	if d.Ready && !up {
		fail("never ready while the tailnet is not connected")
	}
	if (is.Phase == messages.Running) != d.Ready {
		fail("ready in running alone")
	}
	if d.Ready && is.Trouble != messages.TroubleNone {
		fail("never ready while our own port does not serve")
	}
	if (is.Trouble == messages.TroubleNone) != is.TroubleSince.IsZero() {
		fail("a trouble has its beginning")
	}
	if d.Drain != (is.Phase == messages.Draining) || d.DrainBy.IsZero() == d.Drain {
		fail("drain, with its deadline, in draining alone")
	}
	if d.Stop != (is.Phase == messages.Stopped) || d.Stop && d.Listen {
		fail("stop, and nothing else, in stopped alone")
	}
	if is.Phase != messages.Stopped && is.Exit != (messages.Exit{}) {
		fail("no exit before the end")
	}
	if is.Phase == messages.Stopped && is.Exit.Message == "" {
		fail("an exit says why")
	}
}

// checkOrder: a life goes forward; only Degraded and Running alternate.
func checkOrder(was, is messages.State, fail func(string)) {
	age := func(p messages.Phase) int {
		for i, q := range messages.Phases {
			if p == q {
				return i
			}
		}
		fail("unknown phase " + string(p))
		return -1
	}
	back := was.Phase == messages.Degraded && is.Phase == messages.Running
	if age(is.Phase) < age(was.Phase) && !back {
		fail("a life goes forward")
	}
	if is.Phase == was.Phase && !is.Since.Equal(was.Since) || is.Phase != was.Phase && !is.Since.Equal(is.TickedAt) {
		fail("since is when the phase was entered")
	}
}

func checkDeadlines(before Machine, now time.Time, ev messages.Event, after Machine, fail func(string)) {
	was, is := before.State(), after.State()
	l := before.Limits()
	if was.Phase == messages.Draining && is.Phase != messages.Stopped {
		if !now.Before(was.Desired.DrainBy.Add(l.DrainGrace)) && !after.patient(now) {
			fail("a drain ends by its deadline and grace")
		}
		if was.Desired != is.Desired {
			fail("a drain's deadline stands")
		}
	}
	if is.Phase == messages.Draining && was.Phase != messages.Draining && !is.Desired.DrainBy.Equal(now.Add(l.DrainTimeout)) {
		fail("a drain has its whole time")
	}
	if is.Phase == messages.ConnectingTailnet && !now.Before(is.Since.Add(l.ConnectTimeout)) && !after.patient(now) {
		fail("connecting ends at its budget")
	}
	if was.Phase == messages.ConnectingTailnet && is.Phase == messages.Stopped {
		asked := ev.Kind() == messages.KindShutdownRequested || ev.Kind() == messages.KindInterrupted
		if asked != (is.Exit.Code == 0) {
			fail("a tailnet that never came is exit 1, a request to shut down is exit 0")
		}
		if !asked && !strings.Contains(is.Exit.Message, is.Tailnet.Reason.Remedy()) {
			fail("the message has the remedy")
		}
	}
	if is.Phase == messages.Stopped && is.Exit.Code == 1 && was.Phase != messages.ConnectingTailnet {
		_, listener := ev.(messages.ListenerFailed)
		_, config := ev.(messages.ConfigLoaded) // the machine was told something hopeless before
		own := after.Trigger() == ServiceLost || after.Trigger() == DrainOverdue
		if !listener && !config && !own {
			fail("once past connecting, only what is ours ends the service with 1")
		}
	}
	if lost := now.Sub(was.TroubleSince); after.Trigger() == ServiceLost && (was.Trouble == messages.TroubleNone || lost < l.LostIdle) {
		fail("a service that does not serve is kept for a minute")
	}
	if is.Desired.Listen && is.Trouble != messages.TroubleNone && now.Sub(is.TroubleSince) >= l.Lost &&
		after.edge.Trouble != messages.TroubleNone && (after.edge.Idle || after.edge.Trouble != messages.TroubleDescriptors) && !after.patient(now) {
		fail("a service that does not serve is not kept for ever")
	}
}

func checkTailnet(before Machine, now time.Time, ev messages.Event, after Machine, fail func(string)) {
	was, is := before.State(), after.State()
	wasUp, isUp := was.Tailnet.Link == messages.LinkConnected, is.Tailnet.Link == messages.LinkConnected
	if wasUp == isUp && !is.TailnetSince.Equal(was.TailnetSince) || wasUp != isUp && !is.TailnetSince.Equal(now) {
		fail("tailnet since is when it was gained or lost")
	}
	if isUp && now.Sub(is.Tailnet.At) > before.Limits().StaleAfter && !after.patient(now) {
		fail("a stale tailnet is not believed")
	}
	e, ok := ev.(messages.TailnetObserved)
	if !ok || is.Tailnet.Link == messages.LinkDisabled {
		return
	}
	if before.patient(now) && before.ours(e.Status) {
		return
	}
	if fresh := now.Sub(e.Status.At) <= before.Limits().StaleAfter; fresh && !reflect.DeepEqual(is.Tailnet, e.Status) {
		fail("a fresh look is taken over")
	} else if fresh && was.Phase == messages.ConnectingTailnet && !e.Status.Reason.HealsByWaiting() && is.Phase != messages.Stopped {
		fail("what no waiting heals ends the start at once")
	}
}

// event builds a fact from two bytes; a look at the tailnet is up to 15 s old.
func event(now time.Time, what, detail byte) messages.Event {
	switch what % 13 {
	case 0:
		return messages.ConfigLoaded{TailnetDisabled: detail%4 == 0}
	case 1, 2:
		return up(now.Add(-time.Duration(detail%16) * time.Second))
	case 3, 4:
		return down(now.Add(-time.Duration(detail>>4)*time.Second), messages.Reasons[int(detail)%len(messages.Reasons)])
	case 5:
		return messages.ListenerReady{Addr: "127.0.0.1:8080"}
	case 6:
		return messages.ListenerFailed{Addr: "127.0.0.1:8080", Err: "bind: address already in use"}
	case 7:
		return messages.ShutdownRequested{Cause: "SIGTERM"}
	case 8:
		return messages.DrainFinished{Cut: int(detail)}
	case 10:
		return messages.Interrupted{Cause: "SIGINT"}
	case 11:
		return messages.EdgeObserved{Edge: messages.EdgeStatus{
			Trouble: append([]messages.Trouble{messages.TroubleNone}, messages.Troubles...)[int(detail>>1)%(1+len(messages.Troubles))],
			Idle:    detail%2 == 1,
		}}
	case 12:
		return messages.Stalled{For: time.Duration(detail) * time.Second}
	default:
		return messages.Ticked{}
	}
}

// FuzzStep lives whole lives: three bytes make a step, the first its event,
// the second the event's content, the third the time that passed before it in
// quarter seconds, signed, because clocks go back.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 0, 5, 0, 0, 9, 0, 40, 1, 0, 0, 7, 0, 0, 9, 0, 127}) // served, stale, back, drained late
	f.Add([]byte{0, 0, 0, 5, 0, 0, 7, 0, 0, 7, 0, 0})                               // no tailnet, two signals
	f.Add([]byte{0, 1, 0, 3, 13, 0})                                                // wants approval or the like
	f.Add([]byte{0, 1, 0, 9, 0, 127, 9, 0, 127})                                    // never connected
	f.Add([]byte{0, 1, 0, 1, 0, 0, 6, 0, 0, 5, 0, 0})                               // cannot bind
	f.Add([]byte{0, 1, 4, 1, 0, 4, 3, 10, 4, 5, 0, 4, 1, 0, 4, 7, 0, 4, 8, 0, 4})   // lost while starting
	f.Add([]byte{0, 1, 0, 1, 0, 0, 5, 0, 0, 9, 0, 0x90, 9, 0, 0x90, 7, 0, 0x80})    // the clock goes back
	f.Add([]byte{1, 7, 48})                                                         // the first look comes late: not even gained
	f.Add([]byte{0, 0, 0, 5, 0, 0, 11, 3, 0, 9, 0, 127, 9, 0, 127})                 // a port lost for good
	f.Add([]byte{0, 0, 0, 5, 0, 0, 11, 2, 0, 9, 0, 9, 11, 0, 4, 9, 0, 8, 9, 0, 8})  // and one that comes back
	f.Add([]byte{0, 1, 0, 1, 0, 0, 5, 0, 0, 12, 30, 120, 3, 0x03, 0, 9, 0, 15})     // a stall, and a look that timed out
	f.Add([]byte{0, 0, 0, 5, 0, 0, 10, 0, 0, 7, 0, 4, 10, 0, 4})                    // interrupted, asked, interrupted
	f.Fuzz(func(t *testing.T, life []byte) {
		now := epoch
		m := New(now, testLimits)
		for ; len(life) >= 3; life = life[3:] {
			now = now.Add(time.Duration(int8(life[2])) * time.Second / 4)
			ev := event(now, life[0], life[1])
			next := m.Step(now, ev)
			check(t, m, now, ev, next)
			m = next
		}
		end(t, m, now)
	})
}

// end ticks on: whatever was going on with a deadline is over by then.
func end(t *testing.T, m Machine, now time.Time) {
	t.Helper()
	last := m.State().Since.Add(testLimits.ConnectTimeout + testLimits.DrainTimeout + testLimits.DrainGrace)
	if m.patient(now) && last.Before(m.patientUntil) {
		last = m.patientUntil
	}
	for ; now.Before(last.Add(time.Second)); now = now.Add(time.Second) {
		next := m.Step(now, messages.Ticked{})
		check(t, m, now, messages.Ticked{}, next)
		m = next
	}
	if p := m.State().Phase; p == messages.ConnectingTailnet || p == messages.Draining {
		t.Fatalf("still %s after %v of ticks", p, last.Sub(m.State().Since))
	}
}
