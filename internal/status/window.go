package status

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/proxy"
)

// The window's shape: 90 steps of 10 s are the last 15 minutes.
const (
	Step  = 10 * time.Second
	Steps = 90
)

// slots is Steps and two more: one that is being filled, one that is being
// cleared. Nobody reads either as the past.
const slots = Steps + 2

// window counts endings in steps. Writers only add to atomic numbers, so that
// nobody who reads can make them wait; a lock is held among writers alone, for
// the moment in which the first of a new step clears it.
type window struct {
	turn    sync.Mutex
	ring    [slots]cell
	active  atomic.Int64 // requests in flight
	newest  atomic.Int64 // when the last one came, in nanoseconds since 1970
	trouble atomic.Pointer[Trouble]
}

// cell is one step.
type cell struct {
	step        atomic.Int64 // since 1970; another than asked for is another time
	began       atomic.Uint32
	ended       atomic.Uint32
	blame       [blames]atomic.Uint32
	answers     [7]atomic.Uint32 // by Classes
	broken      atomic.Uint32
	silent      atomic.Uint32 // of the broken
	placeholder atomic.Uint32
	streams     [8]atomic.Uint32 // by StreamEnds
	peak        atomic.Int64     // of active
	last        atomic.Int64     // active after the step's last event
	firstByte   spread
	overhead    spread
}

func stepOf(t time.Time) int64 { return t.Unix() / int64(Step/time.Second) }

// at returns the cell of a moment that is now.
func (w *window) at(now time.Time) *cell {
	step := stepOf(now)
	c := &w.ring[step%slots]
	if c.step.Load() == step {
		return c
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	if c.step.Load() < step {
		c.clear()
		c.peak.Store(w.active.Load())
		c.last.Store(w.active.Load())
		c.step.Store(step)
	}
	return c
}

func (c *cell) clear() {
	for _, n := range []*atomic.Uint32{&c.began, &c.ended, &c.broken, &c.silent, &c.placeholder} {
		n.Store(0)
	}
	for i := range c.blame {
		c.blame[i].Store(0)
	}
	for i := range c.answers {
		c.answers[i].Store(0)
	}
	for i := range c.streams {
		c.streams[i].Store(0)
	}
	c.firstByte.clear()
	c.overhead.clear()
}

// moved notes a request that came or went.
func (w *window) moved(now time.Time, by int64) {
	c := w.at(now) // before the number moves: a new step begins with the old one
	n := w.active.Add(by)
	c.last.Store(n)
	for p := c.peak.Load(); n > p && !c.peak.CompareAndSwap(p, n); p = c.peak.Load() {
	}
}

func (w *window) begin(now time.Time) {
	w.moved(now, 1)
	w.at(now).began.Add(1)
	w.newest.Store(now.UnixNano())
}

func (w *window) end(now time.Time, e Ending) {
	w.moved(now, -1)
	c := w.at(now)
	c.ended.Add(1)
	c.blame[blameOf(e)].Add(1)
	c.answers[classOf(e.Answer)].Add(1)
	if e.Answer != 0 && !e.Whole && e.By == proxy.ByUpstream {
		c.broken.Add(1)
		if e.Silent {
			c.silent.Add(1)
		}
	}
	if e.Placeholder {
		c.placeholder.Add(1)
	}
	if i := slices.Index(StreamEnds, e.Stream); i >= 0 {
		c.streams[i].Add(1)
	}
	if e.FirstByte > 0 {
		c.firstByte.add(e.FirstByte)
		if e.Overhead >= 0 {
			c.overhead.add(e.Overhead)
		}
	}
	if blameOf(e) == onAPI {
		w.trouble.Store(&Trouble{At: now, Status: e.Answer, RequestID: e.ID, UpstreamID: e.UpstreamID})
	}
}

// spread is a histogram of times from a tenth of a millisecond to half an
// hour, each bound a quarter above the one before it.
type spread [spreads]atomic.Uint32

const (
	spreads   = 76
	narrowest = 100 * time.Microsecond
	widening  = 1.25
)

func (s *spread) add(d time.Duration) {
	i := int(math.Ceil(math.Log(float64(d)/float64(narrowest)) / math.Log(widening)))
	s[min(max(i, 0), spreads-1)].Add(1)
}

func (s *spread) clear() {
	for i := range s {
		s[i].Store(0)
	}
}

// times are the sum of many spreads.
type times [spreads]uint64

func (t *times) add(s *spread) {
	for i := range s {
		t[i] += uint64(s[i].Load())
	}
}

// quantile is the upper bound of the class in which the q-th part lies, 0
// when there is nothing.
func (t *times) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range t {
		total += n
	}
	rank := uint64(math.Ceil(q * float64(total)))
	var seen uint64
	for i, n := range t {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(float64(narrowest) * math.Pow(widening, float64(i)))
		}
	}
	return 0
}
