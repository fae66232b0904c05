package proxy

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"
)

// watchdog ends a phase of a request that makes no progress. Each phase has a
// limit of its own, so that no single clock runs over a whole stream. Touch is
// cheap: the time of the last touch is looked at only when the limit may be over.
type watchdog struct {
	clock *clock
	last  atomic.Int64 // when something moved last, by the clock

	// guarded by the clock's mu
	limit  time.Duration
	expire func()        // nil while nothing is watched
	due    time.Duration // when the clock looks at it next
	place  int           // among those that it looks at
}

// watch begins a phase: expire is called once, on a goroutine of its own, when
// limit passes without a touch. It replaces the phase before.
func (d *watchdog) watch(limit time.Duration, expire func()) {
	d.touch()
	c := d.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	watched := d.expire != nil
	d.limit, d.expire = limit, expire
	d.due = d.end()
	if watched {
		heap.Fix(&c.dogs, d.place)
	} else {
		heap.Push(&c.dogs, d)
	}
	c.wind()
}

// touch says that something moved.
func (d *watchdog) touch() { d.touchAt(time.Now()) }

// touchAt is touch for who knows the time.
func (d *watchdog) touchAt(now time.Time) { d.last.Store(int64(d.clock.at(now))) }

// end is when the phase is over, unless there is another touch.
func (d *watchdog) end() time.Duration { return time.Duration(d.last.Load()) + d.limit }

// stop ends the watch. A call of expire that has begun is not waited for.
func (d *watchdog) stop() {
	d.clock.mu.Lock()
	defer d.clock.mu.Unlock()
	if d.expire != nil {
		d.expire = nil
		heap.Remove(&d.clock.dogs, d.place)
	}
}

// clock wakes the watchdogs of all requests by one timer: one each would be most
// of what a stream that waits is watched with.
type clock struct {
	born time.Time

	mu    sync.Mutex
	dogs  dogs
	timer *time.Timer   // nil before the first watch
	rings time.Duration // when the timer will, since born; 0 while it will not
}

func newClock() *clock { return &clock{born: time.Now()} }

// at is a time by the clock.
func (c *clock) at(t time.Time) time.Duration { return t.Sub(c.born) }

// wind has the timer ring when the first watchdog is due. It is not set back for
// one that has stopped: it rings for nothing then. The caller holds mu.
func (c *clock) wind() {
	if len(c.dogs) == 0 || c.rings != 0 && c.rings <= c.dogs[0].due {
		return
	}
	c.rings = c.dogs[0].due
	left := c.rings - c.at(time.Now())
	if c.timer == nil {
		c.timer = time.AfterFunc(left, c.ring)
		return
	}
	c.timer.Reset(left)
}

// ring looks at all that are due.
func (c *clock) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.at(time.Now())
	for len(c.dogs) > 0 && c.dogs[0].due <= now {
		d := c.dogs[0]
		if d.due = d.end(); d.due > now {
			heap.Fix(&c.dogs, d.place)
			continue
		}
		heap.Remove(&c.dogs, d.place)
		go d.expire()
		d.expire = nil
	}
	c.rings = 0
	c.wind()
}

// dogs are what a clock looks at, as a heap: the first is due first.
type dogs []*watchdog

func (h dogs) Len() int           { return len(h) }
func (h dogs) Less(i, j int) bool { return h[i].due < h[j].due }

func (h dogs) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dogs) Push(d any) {
	d.(*watchdog).place = len(*h)
	*h = append(*h, d.(*watchdog))
}

func (h *dogs) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
