package upstream

import (
	"time"

	"golang.org/x/net/http2"
)

// pulse is what is known of a connection's life. It is guarded by the
// connection's mutex.
type pulse struct {
	lastRead  time.Time
	idleSince time.Time // when the last stream ended
	greetedAt time.Time // when our SETTINGS were sent
	asked     time.Time // when a ping was sent that nothing has come after
	pinged    time.Time // when a ping was sent that was not answered
	rtt       time.Duration
	clock     *time.Timer
}

const (
	// A path that died without a word is found by a ping after quietTime, and
	// given up deadTime later; a connection that nobody uses is closed.
	quietTime  = 8 * time.Second
	deadTime   = 8 * time.Second
	unusedTime = 5 * time.Minute
)

// pingData tells our pings' answers from others.
var pingData = [8]byte{'s', 't', 'i', 'l', 'l', 'u', 'p', '?'}

// doubtful reports whether a ping waits for its answer.
func (p *pulse) doubtful() bool { return !p.asked.IsZero() }

// beat is for every frame that comes: it proves that the API lives. The caller
// holds mu.
func (c *h2Conn) beat() {
	c.pulse.lastRead = time.Now()
	if c.pulse.doubtful() {
		c.pulse.asked = time.Time{}
		c.pool.freed()
	}
}

// measured takes a round trip's time, of a ping or of SETTINGS.
func (p *pulse) measured(since time.Time) { p.rtt = time.Since(since) }

// tick looks after a connection on which nothing moves, used or not: a request
// must not be the first to find out.
func (c *h2Conn) tick() {
	c.mu.Lock()
	defer c.unlock()
	if c.err != nil {
		return
	}
	p := &c.pulse
	idle := len(c.streams)+c.places.reserved == 0
	quiet := time.Since(p.lastRead)
	switch {
	case idle && (c.leaving || time.Since(p.idleSince) >= unusedTime):
		c.fail(errConnUnused)
		return
	case p.doubtful() && time.Since(p.asked) >= deadTime:
		c.fail(errConnDead)
		return
	case p.doubtful():
		p.clock.Reset(deadTime - time.Since(p.asked))
		return
	case quiet < quietTime:
		p.clock.Reset(quietTime - quiet)
		return
	}
	p.asked = time.Now()
	p.pinged = p.asked
	_ = c.framer.WritePing(false, pingData)
	c.signal()
	p.clock.Reset(deadTime)
}

// pong takes a ping of the API's, or its answer to ours.
func (c *h2Conn) pong(f *http2.PingFrame) {
	switch {
	case !f.IsAck():
		_ = c.framer.WritePing(true, f.Data)
		c.signal()
	case f.Data == pingData && !c.pulse.pinged.IsZero():
		c.pulse.measured(c.pulse.pinged)
		c.pulse.pinged = time.Time{}
	}
}
