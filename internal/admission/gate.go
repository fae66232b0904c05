// Package admission decides which proxied requests may run now.
//
// A Gate holds the table of the requests in flight, the line of those that
// wait for a place, and the sign that says "closed". It outlives every actor.
// It never looks at a request and never cancels one that runs, except when the
// drain's deadline tells it to.
package admission

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
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

// Gate admits at most a fixed number of requests at once, the others in the
// order in which they came. It is safe for concurrent use.
type Gate struct {
	limit   int
	queue   int
	timeout time.Duration

	mu      sync.Mutex
	closed  bool
	active  map[*Ticket]struct{}
	waiters list.List // of *waiter, first come first
	idle    chan struct{}
}

// Capacity is how many can be inside and in line at once.
func (g *Gate) Capacity() int { return g.limit + g.queue }

// Ticket is the right to run. Its holder must call Leave once.
type Ticket struct {
	gate  *Gate
	since time.Time

	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends what runs under the ticket
	ended  error                   // set when the end came before the cancel
}

type waiter struct {
	ticket *Ticket
	ready  chan error // one answer; nil admits
}

// leastQueue is the room that a queue has however small the limit is.
const leastQueue = 1024

// NewGate makes an open gate. limit is how many requests may run at once; up
// to four times as many (at least 1024) wait for up to timeout, and with a
// timeout of zero nobody does.
func NewGate(limit int, timeout time.Duration) *Gate {
	return &Gate{
		limit: limit, queue: max(leastQueue, 4*limit), timeout: timeout,
		active: make(map[*Ticket]struct{}), idle: make(chan struct{}),
	}
}

// Enter admits the caller, waiting in line when the house is full. The error
// is one of this package's or the context's cause.
func (g *Gate) Enter(ctx context.Context) (*Ticket, error) {
	t := &Ticket{gate: g, since: time.Now()}
	w, place, err := g.take(t)
	if w == nil {
		return t, err
	}
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case err := <-w.ready:
		return t, err
	case <-ctx.Done():
		return g.giveUp(w, place, context.Cause(ctx))
	case <-timer.C:
		return g.giveUp(w, place, ErrQueueTimeout)
	}
}

// take gives t a place, a refusal or a place in line.
func (g *Gate) take(t *Ticket) (*waiter, *list.Element, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, nil, ErrDraining
	case len(g.active) < g.limit && g.waiters.Len() == 0:
		g.active[t] = struct{}{}
		return nil, nil, nil
	case g.timeout <= 0:
		return nil, nil, ErrQueueTimeout
	case g.waiters.Len() >= g.queue:
		return nil, nil, ErrQueueFull
	}
	w := &waiter{ticket: t, ready: make(chan error, 1)}
	return w, g.waiters.PushBack(w), nil
}

// giveUp takes a waiter out of the line. A place that was granted in the same
// moment goes to the next one.
func (g *Gate) giveUp(w *waiter, place *list.Element, why error) (*Ticket, error) {
	g.mu.Lock()
	g.waiters.Remove(place)
	g.mu.Unlock()
	select {
	case err := <-w.ready:
		if err == nil {
			w.ticket.Leave()
		}
	default:
	}
	return w.ticket, why
}

// Leave frees the place.
func (t *Ticket) Leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.active, t)
	if first := g.waiters.Front(); first != nil && !g.closed {
		w := g.waiters.Remove(first).(*waiter)
		g.active[w.ticket] = struct{}{}
		w.ready <- nil
	}
	g.settle()
}

// settle closes idle when the gate is closed and nobody is inside. The caller
// holds mu.
func (g *Gate) settle() {
	if !g.closed || len(g.active) > 0 {
		return
	}
	select {
	case <-g.idle:
	default:
		close(g.idle)
	}
}

// Waited is how long ago the ticket's holder came to the gate.
func (t *Ticket) Waited() time.Duration { return time.Since(t.since) }

// OnEnd names what ends the work under the ticket, in place of what was named
// before. If the end has been called for already, cancel is called at once.
func (t *Ticket) OnEnd(cancel context.CancelCauseFunc) {
	t.mu.Lock()
	t.cancel = cancel
	ended := t.ended
	t.mu.Unlock()
	if ended != nil {
		cancel(ended)
	}
}

func (t *Ticket) end(cause error) {
	t.mu.Lock()
	t.ended = cause
	cancel := t.cancel
	t.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// Close refuses everybody from now on, those in line included. Who runs may
// finish. Closing twice is fine.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for first := g.waiters.Front(); first != nil; first = g.waiters.Front() {
		g.waiters.Remove(first).(*waiter).ready <- ErrDraining
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

// End ends every request in flight with the cause.
func (g *Gate) End(cause error) {
	g.mu.Lock()
	tickets := make([]*Ticket, 0, len(g.active))
	for t := range g.active {
		tickets = append(tickets, t)
	}
	g.mu.Unlock()
	for _, t := range tickets {
		t.end(cause)
	}
}

// Load is a look at the gate.
type Load struct {
	Active  int
	Waiting int
	Oldest  time.Duration // the age of the oldest active request
}

// Load counts who is inside and who waits.
func (g *Gate) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := Load{Active: len(g.active), Waiting: g.waiters.Len()}
	for t := range g.active {
		l.Oldest = max(l.Oldest, time.Since(t.since))
	}
	return l
}
