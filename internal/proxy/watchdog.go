package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchdog ends a phase of a request that makes no progress. Each phase has a
// limit of its own, so that no single clock runs over a whole stream. Touch is
// cheap: the timer looks at the time of the last touch only when it fires.
type watchdog struct {
	last atomic.Int64 // nanoseconds since born
	born time.Time

	mu     sync.Mutex
	timer  *time.Timer
	limit  time.Duration
	expire func()
}

func newWatchdog() *watchdog { return &watchdog{born: time.Now()} }

// watch begins a phase: expire is called once, from a goroutine of the timer,
// when limit passes without a touch. It replaces the phase before.
func (d *watchdog) watch(limit time.Duration, expire func()) {
	d.touch()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.expire = limit, expire
	if d.timer == nil {
		d.timer = time.AfterFunc(limit, d.fire)
		return
	}
	d.timer.Reset(limit)
}

// touch says that something moved.
func (d *watchdog) touch() { d.touchAt(time.Now()) }

// touchAt is touch for who knows the time.
func (d *watchdog) touchAt(now time.Time) { d.last.Store(int64(now.Sub(d.born))) }

func (d *watchdog) fire() {
	d.mu.Lock()
	left := d.limit - (time.Since(d.born) - time.Duration(d.last.Load()))
	expire := d.expire
	if left > 0 && expire != nil {
		d.timer.Reset(left)
		expire = nil
	}
	d.mu.Unlock()
	if expire != nil {
		expire()
	}
}

// stop ends the watch. A call of expire that has begun is not waited for.
func (d *watchdog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire = nil
	if d.timer != nil {
		d.timer.Stop()
	}
}
