package lifecycle

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

// kind names an event's type.
type kind string

const (
	configLoaded      kind = "ConfigLoaded"
	tailnetObserved   kind = "TailnetObserved"
	listenerReady     kind = "ListenerReady"
	listenerFailed    kind = "ListenerFailed"
	shutdownRequested kind = "ShutdownRequested"
	drainFinished     kind = "DrainFinished"
	ticked            kind = "Ticked"
)

// kindOf is empty for what is no event of ours; the table has no entry for it,
// and only time passes.
func kindOf(ev messages.Event) kind {
	switch ev.(type) {
	case messages.ConfigLoaded:
		return configLoaded
	case messages.TailnetObserved:
		return tailnetObserved
	case messages.ListenerReady:
		return listenerReady
	case messages.ListenerFailed:
		return listenerFailed
	case messages.ShutdownRequested:
		return shutdownRequested
	case messages.DrainFinished:
		return drainFinished
	case messages.Ticked:
		return ticked
	default:
		return ""
	}
}

// decision is what an event means in a phase, by the name it has in
// specs/lifecycle.md.
type decision struct {
	name string
	take func(m Machine, now time.Time, ev messages.Event) Machine
}

// The decisions.
var (
	begin        = decision{"begin", beginLife}
	observe      = decision{"observe", observeTailnet}
	note         = decision{"note", noteListening}
	unnote       = decision{"unnote", noteNotListening}
	failListener = decision{"fail", stopForListener}
	quit         = decision{"quit", stopUnserved}
	drain        = decision{"drain", startDrain}
	insist       = decision{"insist", cutDrainShort}
	finish       = decision{"finish", finishDrain}
	ignore       = decision{"ignore", leave} // decided to mean nothing here
	pass         = decision{"pass", leave}   // only time passes
	inert        = decision{"inert", leave}  // the life is over
)

// table decides every pair of phase and event on purpose. Stopped is guarded
// in Step as well: nothing that is written here can bring it back to life.
var table = map[messages.Phase]map[kind]decision{
	messages.Initializing: {
		configLoaded: begin, tailnetObserved: observe,
		listenerReady: note, listenerFailed: unnote,
		shutdownRequested: quit, drainFinished: ignore, ticked: pass,
	},
	messages.ConnectingTailnet: {
		configLoaded: ignore, tailnetObserved: observe,
		listenerReady: note, listenerFailed: unnote,
		shutdownRequested: quit, drainFinished: ignore, ticked: pass,
	},
	messages.Starting: {
		configLoaded: ignore, tailnetObserved: observe,
		listenerReady: note, listenerFailed: failListener,
		shutdownRequested: quit, drainFinished: ignore, ticked: pass,
	},
	messages.Running: {
		configLoaded: ignore, tailnetObserved: observe,
		listenerReady: note, listenerFailed: failListener,
		shutdownRequested: drain, drainFinished: ignore, ticked: pass,
	},
	messages.Degraded: {
		configLoaded: ignore, tailnetObserved: observe,
		listenerReady: note, listenerFailed: failListener,
		shutdownRequested: drain, drainFinished: ignore, ticked: pass,
	},
	messages.Draining: {
		configLoaded: ignore, tailnetObserved: observe,
		listenerReady: ignore, listenerFailed: ignore,
		shutdownRequested: insist, drainFinished: finish, ticked: pass,
	},
	messages.Stopped: {
		configLoaded: inert, tailnetObserved: inert,
		listenerReady: inert, listenerFailed: inert,
		shutdownRequested: inert, drainFinished: inert, ticked: inert,
	},
}

func leave(m Machine, _ time.Time, _ messages.Event) Machine { return m }

func beginLife(m Machine, now time.Time, ev messages.Event) Machine {
	if e, _ := ev.(messages.ConfigLoaded); e.TailnetDisabled {
		m.tailnetOff = true
		m.state.Tailnet = messages.TailnetStatus{Link: messages.LinkDisabled, At: now}
	}
	return m.enter(messages.ConnectingTailnet, now, ConfigIsLoaded)
}

// observeTailnet only takes the status over; what follows from it is the
// business of the phase's rule, because silence has the same consequences.
func observeTailnet(m Machine, _ time.Time, ev messages.Event) Machine {
	e, ok := ev.(messages.TailnetObserved)
	if !ok || m.tailnetOff {
		return m
	}
	m.looked = e.Status.At
	m.state.Tailnet = e.Status
	return m
}

// noteListening keeps the fact even before anybody wished for it: a listener
// that is bound already will not say so twice.
func noteListening(m Machine, _ time.Time, _ messages.Event) Machine {
	m.listening = true
	return m
}

// noteNotListening forgives a failure that came before the wish: the listener
// tries again when Starting asks, and that answer counts.
func noteNotListening(m Machine, _ time.Time, _ messages.Event) Machine {
	m.listening = false
	return m
}

func stopForListener(m Machine, now time.Time, ev messages.Event) Machine {
	e, _ := ev.(messages.ListenerFailed)
	return m.stop(now, ListenerHasFailed, 1, fmt.Sprintf(
		"listen on %s: %s. Stop whatever holds the address, or set proxy.listen_addr to one that this host has and this user may bind.",
		e.Addr, e.Err))
}

func stopUnserved(m Machine, now time.Time, ev messages.Event) Machine {
	e, _ := ev.(messages.ShutdownRequested)
	return m.stop(now, ShutdownAsked, 0, fmt.Sprintf(
		"shut down (%s) while %s: no request was accepted yet.", e.Cause, m.state.Phase))
}

func startDrain(m Machine, now time.Time, ev messages.Event) Machine {
	e, _ := ev.(messages.ShutdownRequested)
	m.shutdownCause = e.Cause
	m.drainBy = now.Add(m.limits.DrainTimeout)
	return m.enter(messages.Draining, now, ShutdownAsked)
}

func cutDrainShort(m Machine, now time.Time, ev messages.Event) Machine {
	e, _ := ev.(messages.ShutdownRequested)
	return m.stop(now, ShutdownInsisted, 0, fmt.Sprintf(
		"shut down (%s): the drain was cut short (%s).", m.shutdownCause, e.Cause))
}

func finishDrain(m Machine, now time.Time, ev messages.Event) Machine {
	e, _ := ev.(messages.DrainFinished)
	how := "every request finished"
	if e.Cut > 0 {
		how = fmt.Sprintf("the deadline ended %d of the requests in flight", e.Cut)
	}
	return m.stop(now, Drained, 0, fmt.Sprintf("shut down (%s): drained, %s.", m.shutdownCause, how))
}
