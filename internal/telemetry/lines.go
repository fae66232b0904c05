package telemetry

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxWaiting is how many bytes of lines wait for a writer that stands still:
	// the last words of some two thousand requests.
	maxWaiting = 1 << 20
	// keptBuffer is the largest buffer that is kept once it is empty.
	keptBuffer = 64 << 10
	// pace is the time from one write to the next. A line after a silence goes
	// out at once; the lines of a busy moment share a write.
	pace = 10 * time.Millisecond
	// retryPause is the time between two tries of a writer that fails.
	retryPause = 100 * time.Millisecond
	// FlushPatience is how long [Lines.Close] and [Say] wait at the end.
	FlushPatience = time.Second
)

// Lines stands between the logger and a writer that may be slow, full, stuck or
// gone. Write never waits and never fails: one goroutine carries whole lines to
// the writer, many in one write, and what exceeds the bound is dropped and
// counted, the newest first. When lines flow again, a line of its own says how
// many are missing, at the place where they are missing.
//
// Write may be called from any goroutine. Whoever made the Lines closes them.
// It is a [prometheus.Collector] of log_lines_dropped_total.
type Lines struct {
	w                     io.Writer
	wake, closing, closed chan struct{} // wake holds one
	dropped               prometheus.Counter

	mu      sync.Mutex
	waiting []byte // whole lines, at most maxWaiting
	missed  uint64 // dropped behind what is waiting
	shut    bool

	hand hand // belongs to the goroutine

	lost   atomic.Uint64
	lostAt atomic.Int64 // the last one, in nanoseconds since 1970
	since  atomic.Int64 // when the write began that is not done, so too; 0 for none
}

// LinesState is how the writing goes.
type LinesState struct {
	Dropped uint64 // lines, since the start
	// LastDrop is when the last of them was dropped; zero before one.
	LastDrop time.Time
	// Stalled is for how long the writer has taken nothing; 0 while it does.
	Stalled time.Duration
}

// State may be called from any goroutine and waits for nobody.
func (l *Lines) State() LinesState {
	s := LinesState{Dropped: l.lost.Load()}
	if at := l.lostAt.Load(); at != 0 {
		s.LastDrop = time.Unix(0, at)
	}
	if since := l.since.Load(); since != 0 {
		s.Stalled = time.Since(time.Unix(0, since))
	}
	return s
}

func (l *Lines) drop(n uint64) {
	if n == 0 {
		return
	}
	l.dropped.Add(float64(n))
	l.lost.Add(n)
	l.lostAt.Store(time.Now().UnixNano())
}

// NewLines starts the goroutine that writes to w. A whole Write of the result
// is one line.
func NewLines(w io.Writer) *Lines {
	l := &Lines{
		w: w, wake: make(chan struct{}, 1), closing: make(chan struct{}), closed: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "log_lines_dropped_total",
			Help: "Log lines that were not written: stdout was full, stuck or gone."}),
	}
	go l.run()
	return l
}

// Describe is for the registry.
func (l *Lines) Describe(to chan<- *prometheus.Desc) { l.dropped.Describe(to) }

// Collect is for the registry.
func (l *Lines) Collect(to chan<- prometheus.Metric) { l.dropped.Collect(to) }

// Write takes one line. It copies p.
func (l *Lines) Write(p []byte) (int, error) {
	if first, taken := l.queue(p); !taken {
		l.drop(1)
	} else if first {
		select {
		case l.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return len(p), nil
}

func (l *Lines) queue(p []byte) (first, taken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut || len(l.waiting)+len(p) > maxWaiting {
		l.missed++
		return false, false
	}
	first = len(l.waiting) == 0
	l.waiting = append(l.waiting, p...)
	return first, true
}

// Close writes what is waiting, for [FlushPatience] at most, and waits for the
// goroutine as long. A goroutine that is stuck in the writer then is left there:
// only the end of the process frees it. Lines that come later are dropped.
func (l *Lines) Close() error {
	l.mu.Lock()
	first := !l.shut
	l.shut = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	if w, ok := l.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = w.SetWriteDeadline(time.Now().Add(FlushPatience)) // most files have none
	}
	close(l.closing)
	select {
	case <-l.closed:
		return nil
	case <-time.After(FlushPatience):
		return errors.New("flush log: the writer does not take what is left")
	}
}

func (l *Lines) run() {
	defer close(l.closed)
	for {
		select {
		case <-l.wake:
		case <-l.closing:
			l.finish()
			return
		}
		for pause := l.deliver(); pause > 0; pause = l.deliver() {
			select {
			case <-time.After(pause):
			case <-l.closing:
				l.finish()
				return
			}
		}
	}
}

// finish writes what is left, as far as Close's patience reaches.
func (l *Lines) finish() {
	until := time.Now().Add(FlushPatience)
	for l.deliver() > 0 && time.Now().Before(until) {
		time.Sleep(pace)
	}
}

// deliver writes what is waiting and returns the pause before the next write, 0
// when there was nothing.
func (l *Lines) deliver() time.Duration {
	l.take()
	if len(l.hand.lines) == 0 {
		return 0
	}
	l.since.CompareAndSwap(0, time.Now().UnixNano())
	lost, err := l.hand.send(l.w)
	l.drop(uint64(lost))
	if err != nil {
		return retryPause
	}
	l.since.Store(0)
	return pace
}

// take moves the waiting lines into the hand, when that has room for them.
func (l *Lines) take() {
	if l.hand.again {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 || l.hand.flows && l.hand.untold > 0 {
		l.waiting = l.hand.fill(l.waiting)
		l.hand.untold, l.missed = l.hand.untold+l.missed, 0
	}
}

// Say writes a last message to a writer that may be stuck, and waits for it no
// longer than [FlushPatience]. What is stuck then ends with the process.
func Say(w io.Writer, message string) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.WriteString(w, message) // there is nobody left to tell
	}()
	select {
	case <-said:
	case <-time.After(FlushPatience):
	}
}
