package admission

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLeft = errors.New("the client left")

// comer is one who asked to enter.
type comer struct {
	leave context.CancelCauseFunc // before being admitted
	done  chan struct{}
	tick  *Ticket
	err   error
	took  time.Duration
}

// come asks to enter in a goroutine and waits until that one waits or is
// answered.
func come(t *testing.T, g *Gate) *comer {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &comer{leave: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		began := time.Now()
		c.tick, c.err = g.Enter(ctx)
		c.took = time.Since(began)
	}()
	synctest.Wait()
	return c
}

func (c *comer) waits() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// answer is what the comer was told, which must have happened.
func (c *comer) answer(t *testing.T, who string) error {
	t.Helper()
	if c.waits() {
		t.Fatalf("%s still waits", who)
	}
	return c.err
}

func expect(t *testing.T, who string, c *comer, want error) {
	t.Helper()
	if err := c.answer(t, who); !errors.Is(err, want) || err != nil && want == nil {
		t.Fatalf("%s was told %v, want %v", who, err, want)
	}
}

func load(t *testing.T, g *Gate, active, waiting int) {
	t.Helper()
	if l := g.Load(); l.Active != active || l.Waiting != waiting {
		t.Fatalf("%d are inside and %d wait, want %d and %d", l.Active, l.Waiting, active, waiting)
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2, time.Minute)
		a, b := come(t, g), come(t, g)
		expect(t, "a", a, nil)
		expect(t, "b", b, nil)
		c, d := come(t, g), come(t, g)
		load(t, g, 2, 2)
		if !c.waits() || !d.waits() {
			t.Fatal("the house is full and somebody was let in")
		}
		time.Sleep(3 * time.Second) // the bubble's clock
		b.tick.Leave()
		expect(t, "c", c, nil)
		if !d.waits() {
			t.Fatal("one left and two were let in")
		}
		if c.tick.Waited() != 3*time.Second || g.Load().Oldest != 3*time.Second {
			t.Errorf("c waited %v, the oldest is %v", c.tick.Waited(), g.Load().Oldest)
		}
		a.tick.Leave()
		expect(t, "d", d, nil)
		c.tick.Leave()
		d.tick.Leave()
		load(t, g, 0, 0)
	})
}

func TestWaitingEnds(t *testing.T) {
	for _, tc := range []struct {
		name     string
		patience time.Duration
		after    func(g *Gate, c *comer)
		want     error
		took     time.Duration
	}{
		{"no place in time", 5 * time.Second, func(*Gate, *comer) { time.Sleep(5 * time.Second) }, ErrQueueTimeout, 5 * time.Second},
		{"nobody waits at all", 0, func(*Gate, *comer) {}, ErrQueueTimeout, 0},
		{"the client leaves", time.Minute, func(_ *Gate, c *comer) { c.leave(errLeft) }, errLeft, 0},
		{"the gate closes", time.Minute, func(g *Gate, _ *comer) { g.Close() }, ErrDraining, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGate(1, tc.patience)
				inside := come(t, g)
				c := come(t, g)
				tc.after(g, c)
				expect(t, "who waited", c, tc.want)
				if c.took != tc.took {
					t.Errorf("it took %v, want %v", c.took, tc.took)
				}
				load(t, g, 1, 0)
				inside.tick.Leave()
				load(t, g, 0, 0)
			})
		})
	}
}

func TestTheLineHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, time.Minute)
		if g.Capacity() != 1+leastQueue {
			t.Errorf("the capacity is %d", g.Capacity())
		}
		inside := come(t, g)
		var line []*comer
		for range leastQueue {
			line = append(line, come(t, g))
		}
		expect(t, "the one too many", come(t, g), ErrQueueFull)
		line[0].leave(errLeft)
		expect(t, "who left", line[0], errLeft)
		last := come(t, g)
		if !last.waits() {
			t.Error("a place in line became free and was not given")
		}
		g.Close()
		expect(t, "the last in line", last, ErrDraining)
		inside.tick.Leave()
	})
}

func TestCloseAndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := func(g *Gate) bool {
			select {
			case <-g.Idle():
				return true
			default:
				return false
			}
		}
		g := NewGate(2, time.Minute)
		a, b := come(t, g), come(t, g)
		if idle(g) || g.Closed() {
			t.Error("open and busy, it calls itself idle or closed")
		}
		g.Close()
		g.Close()
		if !g.Closed() || idle(g) {
			t.Error("closed and busy, it calls itself open or idle")
		}
		expect(t, "a late one", come(t, g), ErrDraining)
		a.tick.Leave()
		if idle(g) {
			t.Error("idle with one inside")
		}
		b.tick.Leave()
		if !idle(g) {
			t.Error("nobody is inside and it is not idle")
		}
		empty := NewGate(1, 0)
		if empty.Close(); !idle(empty) {
			t.Error("closed while empty, it is not idle")
		}
	})
}

// The end reaches whoever is inside, also one that has not said yet how to end
// it, or has begun another attempt meanwhile.
func TestEnd(t *testing.T) {
	why := errors.New("why")
	g := NewGate(3, 0)
	enter := func() *Ticket {
		ticket, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	named, late, again := enter(), enter(), enter()
	ctx1, cancel1 := context.WithCancelCause(t.Context())
	named.OnEnd(cancel1)
	before, cancelBefore := context.WithCancelCause(t.Context())
	ctx3, cancel3 := context.WithCancelCause(t.Context())
	again.OnEnd(cancelBefore)
	again.OnEnd(cancel3)
	g.End(why)
	ctx2, cancel2 := context.WithCancelCause(t.Context())
	late.OnEnd(cancel2)
	for i, ctx := range []context.Context{ctx1, ctx2, ctx3} {
		if context.Cause(ctx) != why {
			t.Errorf("ticket %d: ended by %v", i, context.Cause(ctx))
		}
	}
	if before.Err() != nil {
		t.Error("an attempt that was over was ended")
	}
	cancelBefore(nil)
	for _, ticket := range []*Ticket{named, late, again} {
		ticket.Leave()
	}
	if l := g.Load(); l.Active != 0 {
		t.Errorf("%d are inside", l.Active)
	}
}

// Many come, wait, give up and leave at once: never more than may be are
// inside, and in the end nobody is.
func TestCrowd(t *testing.T) {
	const limit, people, visits = 3, 64, 200
	g := NewGate(limit, time.Millisecond)
	var inside, admitted, refused atomic.Int64
	var crowd sync.WaitGroup
	for i := range people {
		crowd.Go(func() {
			for v := range visits {
				ctx, cancel := context.WithCancelCause(context.Background())
				if (i+v)%3 == 0 {
					go cancel(errLeft)
				}
				ticket, err := g.Enter(ctx)
				if err != nil {
					refused.Add(1)
				} else {
					admitted.Add(1)
					if n := inside.Add(1); n > limit {
						t.Errorf("%d are inside, %d may be", n, limit)
					}
					for range people {
						runtime.Gosched() // so that others come meanwhile
					}
					inside.Add(-1)
					ticket.Leave()
				}
				cancel(nil)
			}
		})
	}
	crowd.Wait()
	if l := g.Load(); l.Active != 0 || l.Waiting != 0 {
		t.Errorf("in the end %d are inside and %d wait", l.Active, l.Waiting)
	}
	if admitted.Load()+refused.Load() != people*visits || admitted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were admitted and %d refused, of %d", admitted.Load(), refused.Load(), people*visits)
	}
	if ticket, err := g.Enter(t.Context()); err != nil {
		t.Errorf("after the crowd a place is missing: %v", err)
	} else {
		ticket.Leave()
	}
}
