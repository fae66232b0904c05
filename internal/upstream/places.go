package upstream

import "time"

// placeBook is how many requests a connection may carry. It is guarded by the
// connection's mutex.
type placeBook struct {
	reserved int    // places given away, not yet used
	limit    uint32 // the API's SETTINGS_MAX_CONCURRENT_STREAMS, once greeted
	greeted  bool   // its first SETTINGS have come
	news     bool   // the pool has not seen limit yet
	fruitful bool   // an answer has come

	// An API that refuses what its limit allows has less room than it says:
	// room is what it was seen to carry, and grows with each answer.
	room     int
	refusals int // since the last answer
	until    time.Time
}

const (
	// refusalPause is what a connection gets to recover after REFUSED_STREAM,
	// twice as long each time.
	refusalPause     = 50 * time.Millisecond
	mostRefusalPause = 2 * time.Second
	// promisePatience is how long SETTINGS or a ping's answer are waited for
	// before another connection is opened.
	promisePatience = time.Second
	// shutPatience is how long the connection's send window may be shut before
	// requests go elsewhere; after retirePatience an upload that ends unfinished
	// takes the connection with it.
	shutPatience   = 2 * time.Second
	retirePatience = 5 * time.Second
)

// most is how many streams there may be at once. A connection is good for one
// until its API has said how many it allows.
func (b *placeBook) most() int {
	if !b.greeted {
		return 1
	}
	return min(int(min(b.limit, mostStreams)), b.room)
}

func (b *placeBook) greet(limit uint32) {
	b.greeted, b.limit, b.news = true, limit, true
}

func (b *placeBook) answered() {
	b.refusals, b.fruitful = 0, true
	b.room = min(b.room+1, mostStreams)
}

// refused follows REFUSED_STREAM while others were let in.
func (b *placeBook) refused(others int) {
	b.room = max(1, min(b.room, others))
	b.until = time.Now().Add(min(refusalPause<<min(b.refusals, 10), mostRefusalPause))
	b.refusals++
}

// reserve keeps a place for one request. Each success is followed by exactly
// one roundTrip. A connection that has aged gives places only when asked to.
func (c *h2Conn) reserve(aged bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usable() || c.hasAged() != aged || c.free() <= 0 {
		return false
	}
	if c.places.refusals > 0 && time.Now().Before(c.places.until) {
		return false
	}
	c.places.reserved++
	return true
}

// usable reports whether a new request would be safe on it: nobody said
// goodbye, no ping waits for its answer, content gets through, and there is a
// stream identifier left for it (RFC 9113 5.1.1). The caller holds mu.
func (c *h2Conn) usable() bool {
	return c.err == nil && !c.leaving && !c.pulse.doubtful() && c.send.shutFor() < shutPatience &&
		uint64(c.nextID)+2*uint64(c.places.reserved) <= lastStreamID
}

func (c *h2Conn) hasAged() bool { return time.Now().After(c.facts.aged) }

func (c *h2Conn) free() int { return c.places.most() - len(c.streams) - c.places.reserved }

// promises returns how many places are about to come, and until when that is
// believed: after the first SETTINGS, a ping's answer, a pause.
func (c *h2Conn) promises(expected int) (n int, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving {
		return 0, time.Time{}
	}
	used := len(c.streams) + c.places.reserved
	switch b := &c.places; {
	case !b.greeted:
		n, until = expected-used, c.facts.born.Add(promisePatience)
	case c.pulse.doubtful():
		n, until = c.free(), c.pulse.asked.Add(promisePatience)
	case b.refusals > 0:
		n, until = int(min(b.limit, mostStreams))-used, b.until
	}
	if n <= 0 || !time.Now().Before(until) {
		return 0, time.Time{}
	}
	return n, until
}

// terms returns what the API allows on the connection, whether it has aged, and
// whether that is news.
func (c *h2Conn) terms() (limit int, aged, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving || !c.places.greeted {
		return 0, true, false
	}
	news, c.places.news = c.places.news, false
	return int(min(c.places.limit, mostStreams)), c.hasAged(), news
}

// hopeful reports whether it may have a place again one day.
func (c *h2Conn) hopeful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.leaving && (!c.places.greeted || c.places.limit > 0)
}

// retireAged ends a connection that has aged, once it carries nothing.
func (c *h2Conn) retireAged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.hasAged() {
		c.leave(errConnUnused)
	}
}

// retireBarren ends a connection that allows no streams.
func (c *h2Conn) retireBarren() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.places.greeted && c.places.limit == 0 {
		c.leave(errConnUnused)
	}
}
