package edge

import (
	"errors"
	"os"
	"time"
)

// restAfter is how long a connection waits for its client with a goroutine. Who
// is busy says something sooner, and need not pay for what comes then; of those
// who are not, only the last tenth of a second's have a stack.
const restAfter = 100 * time.Millisecond

// fillOrLieDown waits until more has come: for a while, and then, if somebody can
// watch, without a goroutine, so that the caller has no more to do with the
// connection. What becomes of it when its patience is over says overslept.
func (c *h1conn) fillOrLieDown(patience time.Duration) (later bool, err error) {
	until := time.Now().Add(patience)
	err = c.fillWithin(min(patience, restAfter))
	if patience <= restAfter || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	if c.lieDown(until) {
		return true, nil
	}
	return false, c.fillWithin(time.Until(until))
}

// lieDown leaves the connection to the watcher, until the client sends something
// or leaves, or until its time is over. It is false when somebody must wait after
// all.
func (c *h1conn) lieDown(until time.Time) bool {
	if !c.watched || !c.engine.watch.arm(c, true) {
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	c.lies.Store(int64(until.Sub(c.engine.born)))
	c.engine.keepTime()
	// What came before that woke nobody.
	return !(c.isClosed() || c.left.Load() || c.readable() || !time.Now().Before(until)) || !c.rise()
}

// rise takes a connection from the watcher. Of all who try, one succeeds.
func (c *h1conn) rise() bool { return c.riseAt(c.lies.Load()) }

// riseAt is rise from the one rest that lasts until then.
func (c *h1conn) riseAt(until int64) bool {
	if until == 0 || !c.lies.CompareAndSwap(until, 0) {
		return false
	}
	c.engine.watch.arm(c, false)
	return true
}

// riseTo gives the connection a goroutine again, if it has none.
func (c *h1conn) riseTo(do func()) {
	if c.rise() {
		go do()
	}
}

// overslept ends a connection on which nothing came in time. Half a head is
// answered.
func (c *h1conn) overslept() {
	if len(c.in.bytes()) > 0 {
		c.serve()
		return
	}
	c.finish()
}

// lookEvery is how often the time of connections that lie is looked at: one clock
// for all is late by that, and a timer each costs a sixth of all their memory.
const lookEvery = time.Second

// keepTime sees to it that the clock runs while a connection lies.
func (e *engine) keepTime() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.clock == nil {
		e.clock = time.AfterFunc(lookEvery, e.tick)
	}
}

// tick wakes those whose time is over.
func (e *engine) tick() {
	now, more := int64(time.Since(e.born)), false
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		switch until := c.lies.Load(); {
		case until == 0:
		case until > now:
			more = true
		case c.riseAt(until):
			go c.overslept()
		}
	}
	if !more {
		e.clock = nil
		return
	}
	e.clock.Reset(lookEvery)
}
