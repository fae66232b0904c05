package edge

import "time"

// restAfter is how long a connection waits for its next request with a
// goroutine. Most follow sooner, and need not pay for what comes then.
const restAfter = time.Second

// lieDown leaves an idle connection to the watcher, until the client sends
// something or leaves, or until keepAlive is over. When it returns true the
// caller has no more to do with the connection; it is false when somebody must
// wait after all.
func (c *h1conn) lieDown() bool {
	if c.watch == 0 || !c.engine.watch.arm(c, true) {
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	c.bed = time.AfterFunc(keepAlive-restAfter, func() { c.riseTo(c.finish) })
	c.lies.Store(true)
	// What came before that woke nobody.
	return !(c.isClosed() || c.left.Load() || c.readable()) || !c.rise()
}

// rise takes a connection from the watcher. Of all who try, one succeeds.
func (c *h1conn) rise() bool {
	if !c.lies.CompareAndSwap(true, false) {
		return false
	}
	c.bed.Stop()
	c.engine.watch.arm(c, false)
	return true
}

// riseTo gives the connection a goroutine again, if it has none.
func (c *h1conn) riseTo(do func()) {
	if c.rise() {
		go do()
	}
}
