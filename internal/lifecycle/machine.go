// Package lifecycle decides what the service should be doing.
//
// It is a pure state machine: [Machine.Step] turns a fact and a time into a new
// machine, whose [messages.State] says the phase and what the actors must make
// true. It starts nothing, waits for nothing, reads no clock and logs nothing;
// callers bring events and time. Deadlines are checked at every step, so a
// caller that wants them kept steps [messages.Ticked] often.
package lifecycle

import (
	"time"

	"anthropic-oauth-proxy/messages"
)

// Limits are the machine's deadlines.
type Limits struct {
	// ConnectTimeout is the budget of ConnectingTailnet, counted from its start.
	ConnectTimeout time.Duration
	// DrainTimeout is how long streams in flight may go on after the first
	// request to shut down. Zero ends them at once.
	DrainTimeout time.Duration
	// StaleAfter is how old a look at the tailnet may be and still be believed.
	StaleAfter time.Duration
	// DrainGrace is how long after the drain deadline the machine waits for
	// DrainFinished before it stops without it. The drain actor ends the streams
	// at the deadline itself; the grace is its time to do so and to report.
	DrainGrace time.Duration
	// Patience is one look's time: how long nothing is doubted after we have
	// stood still ourselves.
	Patience time.Duration
	// Steady is how long the proxy port must serve before its trouble is over.
	Steady time.Duration
	// LostIdle is how long the proxy port may not serve while no request is in
	// flight, Lost how long it may not in any case, before the life ends.
	LostIdle, Lost time.Duration
}

// Trigger says what made the machine enter its phase. The set is closed. A fact
// that did it by itself gives its name.
type Trigger string

// The triggers, named as they appear in logs.
const (
	Started           Trigger = "started"
	ConfigIsLoaded    Trigger = Trigger(messages.KindConfigLoaded)
	TailnetConnected  Trigger = "tailnet_connected"
	TailnetIsDisabled Trigger = "tailnet_disabled"
	TailnetLost       Trigger = "tailnet_lost"
	TailnetTimedOut   Trigger = "tailnet_timed_out"
	TailnetHopeless   Trigger = "tailnet_hopeless" // a reason that does not heal by waiting
	NotServing        Trigger = "not_serving"      // our own port does not answer
	ServingAgain      Trigger = "serving_again"
	ServiceLost       Trigger = "service_lost" // it has not served for too long
	ListenerIsReady   Trigger = Trigger(messages.KindListenerReady)
	ListenerHasFailed Trigger = Trigger(messages.KindListenerFailed)
	ShutdownAsked     Trigger = Trigger(messages.KindShutdownRequested)
	Interrupted       Trigger = Trigger(messages.KindInterrupted)
	Drained           Trigger = "drained"
	DrainOverdue      Trigger = "drain_overdue"
)

// Machine is one moment of the service's life. It is a value: a step returns a
// new one and leaves the old one as it was. Make the first with [New].
type Machine struct {
	limits  Limits
	state   messages.State
	trigger Trigger

	// tailnetOff is the configuration's word; no observation can change it.
	tailnetOff bool
	// looked is when tailscaled was last looked at; zero before the first look.
	looked time.Time
	// listening is what the listener said last.
	listening bool
	// edge is what was said last of the proxy port; wellSince is when that became
	// good news while the state still tells of a trouble.
	edge      messages.EdgeStatus
	wellSince time.Time
	// patientUntil is when doubting is allowed again after a stall.
	patientUntil time.Time
	// drainBy is set once, on entering Draining.
	drainBy time.Time
	// shutdownCause is who asked first for the end, for the exit message.
	shutdownCause string
}

// New returns a machine in Initializing that nobody has told anything yet.
func New(now time.Time, l Limits) Machine {
	m := Machine{limits: l}
	m.state.Tailnet = messages.TailnetStatus{Link: messages.LinkUnknown, Reason: messages.ReasonNotPolled}
	m.state.TailnetSince = now
	m.state.TickedAt = now
	return m.enter(messages.Initializing, now, Started)
}

// State is what the rest of the process may know, Desired included.
func (m Machine) State() messages.State { return m.state }

// Limits returns the deadlines the machine was made with.
func (m Machine) Limits() Limits { return m.limits }

// Trigger says what made the machine enter its phase.
func (m Machine) Trigger() Trigger { return m.trigger }

// Step returns the machine after ev happened at now. It never panics and never
// changes m; the same machine, time and event always give the same result.
//
// The event comes first and the deadlines after it, so that a fact that
// arrives with the deadline still counts. Time that goes backwards only
// postpones deadlines.
func (m Machine) Step(now time.Time, ev messages.Event) Machine {
	m.state.TickedAt = now
	if m.state.Phase == messages.Stopped {
		return m
	}
	was := m.state.Tailnet.Link
	if ev != nil { // without a fact only time passes
		if d, ok := table[m.state.Phase][ev.Kind()]; ok {
			m = d.take(m, now, ev)
		}
	}
	m = m.doubt(now)
	if is := m.state.Tailnet.Link; (is == messages.LinkConnected) != (was == messages.LinkConnected) {
		m.state.TailnetSince = now
	}
	// A phase may be over as soon as it is entered. No life is longer than the
	// list of phases.
	for range messages.Phases {
		r, ok := rules[m.state.Phase]
		if !ok {
			break
		}
		m = r.apply(m, now)
	}
	m.state.Desired = m.desired()
	return m
}

// enter begins a phase.
func (m Machine) enter(p messages.Phase, now time.Time, why Trigger) Machine {
	m.state.Phase = p
	m.state.Since = now
	m.trigger = why
	return m
}

// stop ends the life.
func (m Machine) stop(now time.Time, why Trigger, code int, message string) Machine {
	m = m.enter(messages.Stopped, now, why)
	m.state.Exit = messages.Exit{Code: code, Message: message}
	return m
}

// desired is a function of the phase alone.
func (m Machine) desired() messages.Desired {
	switch m.state.Phase {
	case messages.Starting, messages.Degraded:
		return messages.Desired{Listen: true}
	case messages.Running:
		return messages.Desired{Listen: true, Ready: true}
	case messages.Draining:
		return messages.Desired{Drain: true, DrainBy: m.drainBy}
	case messages.Stopped:
		return messages.Desired{Stop: true}
	default:
		return messages.Desired{}
	}
}

// connected reports whether the tailnet is up, or nobody asked for one.
func (m Machine) connected() bool {
	return m.tailnetOff || m.state.Tailnet.Link == messages.LinkConnected
}

// patient reports whether a stall of our own is so fresh that nobody else may
// be doubted for what was not seen meanwhile.
func (m Machine) patient(now time.Time) bool { return now.Before(m.patientUntil) }

// doubt replaces a status that is too old: whoever watches the tailnet may be
// dead, and the last good news is no news. Before the first look there is
// nothing to doubt.
func (m Machine) doubt(now time.Time) Machine {
	t := m.state.Tailnet
	if m.looked.IsZero() || m.tailnetOff || t.Reason == messages.ReasonStale {
		return m
	}
	if m.patient(now) {
		return m
	}
	if m.looked.After(now) { // the clock went back, or the look claims to be from the future
		m.looked = now
	}
	if now.Sub(m.looked) <= m.limits.StaleAfter {
		return m
	}
	m.state.Tailnet = messages.TailnetStatus{
		Link:   messages.LinkNotConnected,
		Reason: messages.ReasonStale,
		Detail: "the last look said " + account(t),
		At:     t.At,
	}
	return m
}
