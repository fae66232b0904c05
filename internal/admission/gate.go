// Package admission decides which proxied requests may run now.
//
// A Gate holds the table of the requests that have arrived, the lines of those
// that wait for a place, and the sign that says "closed". It outlives every
// actor. It never looks at a request and never cancels one that runs, except
// when the drain's deadline tells it to.
package admission

import (
	"context"
	"errors"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/roll"
)

// The reasons for which a request is not admitted.
var (
	// ErrDraining: the gate is closed for good.
	ErrDraining = errors.New("admit request: the proxy is shutting down")
	// ErrQueueTimeout: no place became free in time.
	ErrQueueTimeout = errors.New("admit request: no place became free in time")
	// ErrQueueFull: so many wait already that waiting is pointless.
	ErrQueueFull = errors.New("admit request: too many requests are waiting")
)

// Caller tells the requests of one caller from those of another; equal values
// are one caller.
type Caller uint64

// Gate admits at most a fixed number of requests at once. The others wait, and
// are admitted in turn over their callers, those of one caller in the order in
// which they came. It is safe for concurrent use.
type Gate struct {
	limit   int
	queue   int
	timeout time.Duration
	born    time.Time

	mu      sync.Mutex
	closed  bool
	known   roll.Roll[Ticket, *Ticket]
	running int
	lines   lines
	idle    chan struct{}
}

// Capacity is how many can be inside and in line at once.
func (g *Gate) Capacity() int { return g.limit + g.queue }

// leastQueue is the room that a queue has however small the limit is.
const leastQueue = 1024

// NewGate makes an open gate. limit is how many requests may run at once; up
// to four times as many (at least 1024) wait for up to timeout, and with a
// timeout of zero nobody does.
func NewGate(limit int, timeout time.Duration) *Gate {
	return &Gate{
		limit: limit, queue: max(leastQueue, 4*limit), timeout: timeout,
		born: time.Now(), lines: newLines(), idle: make(chan struct{}),
	}
}

// Ticket is a request that the gate knows: one that has arrived, waits or runs.
// Its holder must call Leave once.
type Ticket struct {
	gate    *Gate
	since   time.Duration // when it came, since the gate was made
	request Request
	// guarded by the gate's mu
	roll.Place[Ticket]
	runs, ended bool
}

// Request is what the gate can do to a request.
type Request interface {
	// End ends it with a cause, unless it has ended already. Any goroutine may call
	// it.
	End(cause error)
}

// Arrive makes a request known: a drain waits for it, and ends it at its
// deadline. The only error is ErrDraining.
func (g *Gate) Arrive(r Request) (*Ticket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrDraining
	}
	t := &Ticket{gate: g, since: time.Since(g.born), request: r}
	g.known.Enter(t)
	return t, nil
}

// Enter waits for a place, in the caller's line when the house is full. The
// error is one of this package's or the context's cause; waited says that there
// was a line to stand in, however short. Who arrived before the gate was closed
// may still enter, but does not wait any more. Call it once.
func (t *Ticket) Enter(ctx context.Context, caller Caller) (waited bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	w, err := t.gate.take(t, caller)
	if w == nil {
		return false, err
	}
	timer := time.NewTimer(t.gate.timeout)
	defer timer.Stop()
	select {
	case err := <-w.ready:
		return true, err
	case <-ctx.Done():
		return true, t.gate.giveUp(w, context.Cause(ctx))
	case <-timer.C:
		return true, t.gate.giveUp(w, ErrQueueTimeout)
	}
}

// take gives t a place, a refusal or a place in line.
func (g *Gate) take(t *Ticket, caller Caller) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.running < g.limit && g.lines.waiting == 0:
		g.admit(t)
		return nil, nil
	case g.closed:
		return nil, ErrDraining
	case g.timeout <= 0:
		return nil, ErrQueueTimeout
	case g.lines.waiting >= g.queue && !g.lines.yield(caller):
		return nil, ErrQueueFull
	}
	return g.lines.join(t, caller), nil
}

// admit gives t a place. The caller holds mu.
func (g *Gate) admit(t *Ticket) {
	t.runs = true
	g.running++
}

// giveUp takes a waiter out of its line. A place that was granted in the same
// moment goes back with the ticket.
func (g *Gate) giveUp(w *waiter, why error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines.leave(w)
	return why
}

// Leave frees the place, if there was one, and forgets the request.
func (t *Ticket) Leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Strike(t)
	if t.runs {
		t.runs = false
		g.running--
		if w := g.lines.next(); w != nil {
			g.admit(w.ticket)
			w.ready <- nil
		}
	}
	g.settle()
}

// settle closes idle when the gate is closed and nobody is left. The caller
// holds mu.
func (g *Gate) settle() {
	if !g.closed || g.known.Length() > 0 {
		return
	}
	select {
	case <-g.idle:
	default:
		close(g.idle)
	}
}

// Close refuses everybody who comes from now on, and those in line. Who runs
// may finish, and who has arrived may still enter. Closing twice is fine.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for w := g.lines.next(); w != nil; w = g.lines.next() {
		w.ready <- ErrDraining
	}
	g.settle()
}

// Closed reports whether Close was called.
func (g *Gate) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Idle closes when the gate is closed and the last request has left.
func (g *Gate) Idle() <-chan struct{} { return g.idle }

// End ends every request that the gate knows with the cause, and counts those
// that it has ended: one that was ended before does not count again.
func (g *Gate) End(cause error) (ended int) {
	g.mu.Lock()
	tickets := make([]*Ticket, 0, g.known.Length())
	for t := range g.known.All() {
		tickets = append(tickets, t)
		if !t.ended {
			t.ended = true
			ended++
		}
	}
	g.mu.Unlock()
	for _, t := range tickets {
		t.request.End(cause)
	}
	return ended
}

// Load is a look at the gate.
type Load struct {
	Active   int // those with a place
	Waiting  int // those in line
	Arriving int // those whose body is still read
	Oldest   time.Duration
}

// Left is how many there are in all; a drain waits for them.
func (l Load) Left() int { return l.Active + l.Waiting + l.Arriving }

// Load counts the requests; Oldest is the age of the oldest.
func (g *Gate) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := Load{Active: g.running, Waiting: g.lines.waiting, Arriving: g.known.Length() - g.running - g.lines.waiting}
	if oldest := g.known.Oldest(); oldest != nil {
		l.Oldest = time.Since(g.born) - oldest.since
	}
	return l
}
