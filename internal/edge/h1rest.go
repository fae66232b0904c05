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
// connection. over is what becomes of it when its patience is over.
func (c *h1conn) fillOrLieDown(patience time.Duration, over func()) (later bool, err error) {
	until := time.Now().Add(patience)
	err = c.fillWithin(min(patience, restAfter))
	if patience <= restAfter || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	if c.lieDown(until, over) {
		return true, nil
	}
	return false, c.fillWithin(time.Until(until))
}

// lieDown leaves the connection to the watcher, until the client sends something
// or leaves, or until its time is over. It is false when somebody must wait after
// all.
func (c *h1conn) lieDown(until time.Time, over func()) bool {
	if c.watch == 0 || !c.engine.watch.arm(c, true) {
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	c.bed = time.AfterFunc(time.Until(until), func() { c.riseTo(over) })
	c.lies.Store(true)
	// What came before that woke nobody.
	return !(c.isClosed() || c.left.Load() || c.readable() || !time.Now().Before(until)) || !c.rise()
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
