package lifecycle

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

// troubled reports whether the proxy port does not serve.
func (m Machine) troubled() bool { return m.state.Trouble != messages.TroubleNone }

// mindEdge draws the consequence of what was said last about the proxy port. A
// trouble is believed at once, unless we have just stood still ourselves; good
// news is believed when it has lasted.
func (m Machine) mindEdge(now time.Time) Machine {
	bad := m.edge.Trouble != messages.TroubleNone
	switch {
	case bad && m.patient(now):
	case bad:
		if !m.troubled() {
			m.state.TroubleSince = now
		}
		m.state.Trouble, m.state.TroubleDetail = m.edge.Trouble, m.edge.Detail
		m.wellSince = time.Time{}
	case !m.troubled():
	case m.wellSince.IsZero() || m.wellSince.After(now): // or the clock went back
		m.wellSince = now
	case now.Sub(m.wellSince) >= m.limits.Steady:
		m = m.forgetTrouble()
	}
	return m
}

func (m Machine) forgetTrouble() Machine {
	m.state.Trouble, m.state.TroubleDetail, m.state.TroubleSince = messages.TroubleNone, "", time.Time{}
	m.wellSince = time.Time{}
	return m
}

// edgeLost reports whether a service that does not serve has been kept for long
// enough: for the sake of the requests in flight it is kept longer. For want of
// descriptors they are not ended at all: what takes them would take those of the
// next process as well.
func (m Machine) edgeLost(now time.Time) bool {
	if !m.troubled() || m.edge.Trouble == messages.TroubleNone || m.patient(now) {
		return false
	}
	lost := now.Sub(m.state.TroubleSince)
	if m.edge.Idle {
		return lost >= m.limits.LostIdle
	}
	return lost >= m.limits.Lost && m.edge.Trouble != messages.TroubleDescriptors
}

func (m Machine) stopForEdge(now time.Time) Machine {
	t := m.state.Trouble
	return m.stop(now, ServiceLost, 1, fmt.Sprintf("serve the proxy port: for %v %s (%s). %s",
		now.Sub(m.state.TroubleSince).Round(time.Second), t.Meaning(), m.state.TroubleDetail, t.Remedy()))
}
