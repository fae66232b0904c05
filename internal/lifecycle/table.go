package lifecycle

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

// decision is what an event means in a phase, by the name it has in
// specs/lifecycle.md.
type decision struct {
	name string
	take func(m Machine, now time.Time, ev messages.Event) Machine
}

// on makes a decision about one type of event.
func on[E messages.Event](name string, take func(m Machine, now time.Time, ev E) Machine) decision {
	return decision{name, func(m Machine, now time.Time, ev messages.Event) Machine {
		if e, ok := ev.(E); ok {
			return take(m, now, e)
		}
		return m
	}}
}

// always makes a decision that does not depend on what the event says.
func always(name string, take func(m Machine) Machine) decision {
	return decision{name, func(m Machine, _ time.Time, _ messages.Event) Machine { return take(m) }}
}

// The decisions.
var (
	begin        = on("begin", beginLife)
	observe      = on("observe", observeTailnet)
	note         = always("note", noteListening)
	unnote       = always("unnote", noteNotListening)
	failListener = on("fail", stopForListener)
	heed         = on("heed", heedEdge)
	excuse       = on("excuse", excuseStall)
	quit         = on("quit", quitAsked)
	quitAtOnce   = on("quit", quitInterrupted)
	drain        = on("drain", drainAsked)
	drainAtOnce  = on("drain", drainInterrupted)
	insist       = on("insist", cutDrainShort)
	finish       = on("finish", finishDrain)
	ignore       = always("ignore", leave) // decided to mean nothing here
	pass         = always("pass", leave)   // only time passes
	inert        = always("inert", leave)  // the life is over
)

// table decides every pair of phase and event on purpose. Stopped is guarded
// in Step as well: nothing that is written here can bring it back to life.
var table = map[messages.Phase]map[messages.Kind]decision{
	messages.Initializing: {
		messages.KindConfigLoaded: begin, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: note, messages.KindListenerFailed: unnote,
		messages.KindShutdownRequested: quit, messages.KindInterrupted: quitAtOnce, messages.KindDrainFinished: ignore,
		messages.KindEdgeObserved: ignore, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.ConnectingTailnet: {
		messages.KindConfigLoaded: ignore, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: note, messages.KindListenerFailed: unnote,
		messages.KindShutdownRequested: quit, messages.KindInterrupted: quitAtOnce, messages.KindDrainFinished: ignore,
		messages.KindEdgeObserved: ignore, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.Starting: {
		messages.KindConfigLoaded: ignore, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: note, messages.KindListenerFailed: failListener,
		messages.KindShutdownRequested: quit, messages.KindInterrupted: quitAtOnce, messages.KindDrainFinished: ignore,
		messages.KindEdgeObserved: heed, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.Running: {
		messages.KindConfigLoaded: ignore, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: note, messages.KindListenerFailed: failListener,
		messages.KindShutdownRequested: drain, messages.KindInterrupted: drainAtOnce, messages.KindDrainFinished: ignore,
		messages.KindEdgeObserved: heed, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.Degraded: {
		messages.KindConfigLoaded: ignore, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: note, messages.KindListenerFailed: failListener,
		messages.KindShutdownRequested: drain, messages.KindInterrupted: drainAtOnce, messages.KindDrainFinished: ignore,
		messages.KindEdgeObserved: heed, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.Draining: {
		messages.KindConfigLoaded: ignore, messages.KindTailnetObserved: observe,
		messages.KindListenerReady: ignore, messages.KindListenerFailed: ignore,
		messages.KindShutdownRequested: ignore, messages.KindInterrupted: insist, messages.KindDrainFinished: finish,
		messages.KindEdgeObserved: ignore, messages.KindStalled: excuse, messages.KindTicked: pass,
	},
	messages.Stopped: {
		messages.KindConfigLoaded: inert, messages.KindTailnetObserved: inert,
		messages.KindListenerReady: inert, messages.KindListenerFailed: inert,
		messages.KindShutdownRequested: inert, messages.KindInterrupted: inert, messages.KindDrainFinished: inert,
		messages.KindEdgeObserved: inert, messages.KindStalled: inert, messages.KindTicked: inert,
	},
}

func leave(m Machine) Machine { return m }

func beginLife(m Machine, now time.Time, ev messages.ConfigLoaded) Machine {
	if ev.TailnetDisabled {
		m.tailnetOff = true
		m.state.Tailnet = messages.TailnetStatus{Link: messages.LinkDisabled} // nobody has looked
	}
	return m.enter(messages.ConnectingTailnet, now, ConfigIsLoaded)
}

// observeTailnet only takes the status over; what follows from it is the
// business of the phase's rule, because silence has the same consequences. A
// look that failed because we stood still while it was out says nothing.
func observeTailnet(m Machine, now time.Time, ev messages.TailnetObserved) Machine {
	if m.tailnetOff || m.patient(now) && m.ours(ev.Status) {
		return m
	}
	m.looked = ev.Status.At
	m.state.Tailnet = ev.Status
	return m
}

// ours reports whether a look may have failed by our own stall: it found
// tailscaled silent where the last one had found it well.
func (m Machine) ours(s messages.TailnetStatus) bool {
	silent := s.Reason == messages.ReasonTimeout || s.Reason == messages.ReasonPollFailed
	return silent && m.state.Tailnet.Link == messages.LinkConnected
}

// heedEdge only keeps what was said, as observeTailnet does.
func heedEdge(m Machine, _ time.Time, ev messages.EdgeObserved) Machine {
	m.edge = ev.Edge
	return m
}

func excuseStall(m Machine, now time.Time, ev messages.Stalled) Machine {
	m.patientUntil = now.Add(m.limits.Patience)
	m.state.StalledAt, m.state.StalledFor = now, ev.For
	return m
}

// noteListening keeps the fact even before anybody wished for it: a listener
// that is bound already will not say so twice.
func noteListening(m Machine) Machine {
	m.listening = true
	return m
}

// noteNotListening forgives a failure that came before the wish: the listener
// tries again when Starting asks, and that answer counts.
func noteNotListening(m Machine) Machine {
	m.listening = false
	return m
}

func stopForListener(m Machine, now time.Time, ev messages.ListenerFailed) Machine {
	return m.stop(now, ListenerHasFailed, 1, fmt.Sprintf(
		"listen on %s: %s. Stop whatever holds the address, or set proxy.listen_addr to one that this host has and this user may bind.",
		ev.Addr, ev.Err))
}

func quitAsked(m Machine, now time.Time, ev messages.ShutdownRequested) Machine {
	return m.stopUnserved(now, ev.Cause)
}

func quitInterrupted(m Machine, now time.Time, ev messages.Interrupted) Machine {
	return m.stopUnserved(now, ev.Cause)
}

func (m Machine) stopUnserved(now time.Time, cause string) Machine {
	return m.stop(now, ShutdownAsked, 0, fmt.Sprintf(
		"shut down (%s) while %s: no request was accepted yet.", cause, m.state.Phase))
}

func drainAsked(m Machine, now time.Time, ev messages.ShutdownRequested) Machine {
	return m.startDrain(now, ev.Cause)
}

func drainInterrupted(m Machine, now time.Time, ev messages.Interrupted) Machine {
	return m.startDrain(now, ev.Cause)
}

// startDrain forgets a trouble: a port that is meant to be closed has none.
func (m Machine) startDrain(now time.Time, cause string) Machine {
	m = m.forgetTrouble()
	m.shutdownCause = cause
	m.drainBy = now.Add(m.limits.DrainTimeout)
	return m.enter(messages.Draining, now, ShutdownAsked)
}

func cutDrainShort(m Machine, now time.Time, ev messages.Interrupted) Machine {
	return m.stop(now, Interrupted, 0, fmt.Sprintf(
		"shut down (%s): the drain was cut short (%s).", m.shutdownCause, ev.Cause))
}

func finishDrain(m Machine, now time.Time, ev messages.DrainFinished) Machine {
	how := "every request finished"
	if ev.Cut > 0 {
		how = fmt.Sprintf("the deadline ended %d of the requests in flight", ev.Cut)
	}
	return m.stop(now, Drained, 0, fmt.Sprintf("shut down (%s): drained, %s.", m.shutdownCause, how))
}
