package lifecycle

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

// rule is what follows from a phase, the tailnet and the time alone. It is
// applied at every step after the event, by the name it has in
// specs/lifecycle.md.
type rule struct {
	name  string
	apply func(m Machine, now time.Time) Machine
}

// rules has no entry for the phases in which nothing happens by itself.
var rules = map[messages.Phase]rule{
	messages.ConnectingTailnet: {"await tailnet", awaitTailnet},
	messages.Starting:          {"await listener", awaitListener},
	messages.Running:           {"mind loss", mindLoss},
	messages.Degraded:          {"mind return", mindReturn},
	messages.Draining:          {"mind deadline", mindDeadline},
}

func awaitTailnet(m Machine, now time.Time) Machine {
	t := m.state.Tailnet
	switch {
	case m.tailnetOff:
		return m.enter(messages.Starting, now, TailnetIsDisabled)
	case m.connected():
		return m.enter(messages.Starting, now, TailnetConnected)
	case !t.Reason.HealsByWaiting():
		return m.stop(now, TailnetHopeless, 1, fmt.Sprintf(
			"connect to the tailnet: %s, which no waiting heals. %s", account(t), t.Reason.Remedy()))
	case !m.patient(now) && !now.Before(m.state.Since.Add(m.limits.ConnectTimeout)):
		return m.stop(now, TailnetTimedOut, 1, fmt.Sprintf(
			"connect to the tailnet: after %v still %s. %s", m.limits.ConnectTimeout, account(t), t.Reason.Remedy()))
	default:
		return m
	}
}

// awaitListener does not care that the tailnet may have been lost meanwhile:
// the service goes on to serve, as Running would, and is not ready until the
// tailnet is back.
func awaitListener(m Machine, now time.Time) Machine {
	m = m.mindEdge(now)
	switch {
	case m.edgeLost(now):
		return m.stopForEdge(now)
	case !m.listening:
		return m
	case m.troubled():
		return m.enter(messages.Degraded, now, NotServing)
	case !m.connected():
		return m.enter(messages.Degraded, now, TailnetLost)
	default:
		return m.enter(messages.Running, now, ListenerIsReady)
	}
}

// mindLoss leaves Running. What is wrong with us is told before what is wrong
// with the tailnet.
func mindLoss(m Machine, now time.Time) Machine {
	m = m.mindEdge(now)
	switch {
	case m.troubled():
		return m.enter(messages.Degraded, now, NotServing)
	case !m.connected():
		return m.enter(messages.Degraded, now, TailnetLost)
	default:
		return m
	}
}

// mindReturn comes back when both our port and the tailnet are well.
func mindReturn(m Machine, now time.Time) Machine {
	why := TailnetConnected
	if m.troubled() {
		why = ServingAgain
	}
	m = m.mindEdge(now)
	switch {
	case m.edgeLost(now):
		return m.stopForEdge(now)
	case m.troubled() || !m.connected():
		return m
	default:
		return m.enter(messages.Running, now, why)
	}
}

func mindDeadline(m Machine, now time.Time) Machine {
	if m.patient(now) || now.Before(m.drainBy.Add(m.limits.DrainGrace)) {
		return m
	}
	return m.stop(now, DrainOverdue, 1, fmt.Sprintf(
		"shut down (%s): the drain did not report within %v of its deadline. Read the log about the service drain.",
		m.shutdownCause, m.limits.DrainGrace))
}
