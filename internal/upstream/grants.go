package upstream

import "golang.org/x/net/http2"

// grants is what fresh streams of a connection may receive. It follows the
// budget of the process by SETTINGS_INITIAL_WINDOW_SIZE, which takes back what
// was granted to all streams at once (RFC 9113 6.9.2): the one way to make
// windows smaller that are open already.
type grants struct {
	initial int  // as last announced
	unacked bool // SETTINGS wait for their acknowledgement
}

// adjust follows the budget. The caller holds mu.
func (c *h2Conn) adjust() {
	want := c.pool.budget.window()
	if want == c.grants.initial || c.grants.unacked {
		return
	}
	grown := want > c.grants.initial
	c.grants = grants{initial: want, unacked: true}
	_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(want)})
	c.signal()
	if grown {
		c.regrant()
	}
}

// settingsAcked: the API goes by what we announced last. A smaller window holds
// from here on; a larger one it may have used before.
func (c *h2Conn) settingsAcked() {
	if !c.grants.unacked {
		return
	}
	c.grants.unacked = false
	c.regrant()
	c.adjust()
}

// regrant changes the windows of the open streams as the API does its own.
func (c *h2Conn) regrant() {
	for _, s := range c.streams {
		delta := c.grants.initial - s.initial
		s.initial = c.grants.initial
		s.receive.left += delta
		if delta < 0 {
			s.receive.size = c.grants.initial
		} else {
			s.receive.size = max(s.receive.size, c.grants.initial)
		}
	}
}
