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
func come(t *testing.T, g *Gate) *comer { return comeAs(t, g, 1) }

func comeAs(t *testing.T, g *Gate, caller Caller) *comer {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &comer{leave: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		began := time.Now()
		c.tick, c.err = enter(ctx, g, caller)
		c.took = time.Since(began)
	}()
	synctest.Wait()
	return c
}

// asked is a request that says how it ends.
type asked func(cause error)

func (a asked) End(cause error) { a(cause) }

// enter arrives and enters; who is not admitted leaves.
func enter(ctx context.Context, g *Gate, caller Caller) (*Ticket, error) {
	ticket, err := g.Arrive(asked(func(error) {}))
	if err != nil {
		return nil, err
	}
	if _, err := ticket.Enter(ctx, caller); err != nil {
		ticket.Leave()
		return nil, err
	}
	return ticket, nil
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
		if c.took != 3*time.Second || g.Load().Oldest != 3*time.Second {
			t.Errorf("c waited %v, the oldest is %v", c.took, g.Load().Oldest)
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

// The end reaches whoever the gate knows: one that runs, one that waits and one
// that has only arrived.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		g := NewGate(1, time.Minute)
		arrive := func() (*Ticket, context.Context) {
			ctx, cancel := context.WithCancelCause(t.Context())
			ticket, err := g.Arrive(asked(cancel))
			if err != nil {
				t.Fatal(err)
			}
			return ticket, ctx
		}
		running, ctx1 := arrive()
		if _, err := running.Enter(ctx1, 1); err != nil {
			t.Fatal(err)
		}
		waiting, ctx2 := arrive()
		told := make(chan error, 1)
		go func() { _, err := waiting.Enter(ctx2, 1); told <- err }()
		synctest.Wait()
		arrived, ctx3 := arrive()
		if l := g.Load(); l.Active != 1 || l.Waiting != 1 || l.Arriving != 1 || l.Left() != 3 {
			t.Errorf("the gate counts %+v", l)
		}
		g.End(why)
		for i, ctx := range []context.Context{ctx1, ctx2, ctx3} {
			if context.Cause(ctx) != why {
				t.Errorf("ticket %d: ended by %v", i, context.Cause(ctx))
			}
		}
		if err := <-told; err != why {
			t.Errorf("the one that waited was told %v", err)
		}
		if _, err := arrived.Enter(ctx3, 1); err != why {
			t.Errorf("the one that came later was told %v", err)
		}
		for _, ticket := range []*Ticket{running, waiting, arrived} {
			ticket.Leave()
		}
		if l := g.Load(); l.Left() != 0 {
			t.Errorf("%+v are left", l)
		}
	})
}

// A drain waits for who has arrived, lets it in while there is room, and does
// not let it wait.
func TestWhoArrivedBeforeTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, time.Minute)
		first, err := g.Arrive(asked(func(error) {}))
		if err != nil {
			t.Fatal(err)
		}
		second, err := g.Arrive(asked(func(error) {}))
		if err != nil {
			t.Fatal(err)
		}
		g.Close()
		select {
		case <-g.Idle():
			t.Fatal("the gate calls itself idle with two at its door")
		default:
		}
		if _, err := first.Enter(t.Context(), 1); err != nil {
			t.Errorf("the first was told %v", err)
		}
		if _, err := second.Enter(t.Context(), 1); err != ErrDraining {
			t.Errorf("the second was told %v, want that it drains", err)
		}
		second.Leave()
		first.Leave()
		<-g.Idle()
	})
}

// One caller with a thousand requests starves nobody: the others are admitted in
// turn, each in the order in which they came.
func TestAGreedyCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const greedy, modest, each = 1000, 10, 2
		g := NewGate(1, time.Hour)
		type name struct {
			caller Caller
			n      int
		}
		admitted := make(chan name, greedy+modest*each)
		inside := come(t, g)
		var all sync.WaitGroup
		join := func(caller Caller, n int) {
			all.Go(func() {
				ticket, err := enter(t.Context(), g, caller)
				if err != nil {
					t.Errorf("%d of caller %d: %v", n, caller, err)
					return
				}
				admitted <- name{caller, n}
				ticket.Leave()
			})
			synctest.Wait()
		}
		for n := range greedy {
			join(100, n)
		}
		for n := range each {
			for m := range modest {
				join(Caller(m), n)
			}
		}
		inside.tick.Leave()
		all.Wait()
		close(admitted)
		place, seen := 0, map[Caller]int{}
		for a := range admitted {
			if a.n != seen[a.caller] {
				t.Fatalf("caller %d: number %d was admitted in place of %d", a.caller, a.n, seen[a.caller])
			}
			seen[a.caller]++
			if place++; a.caller != 100 && place > (modest+1)*(a.n+1) {
				t.Errorf("number %d of caller %d was admitted in place %d", a.n, a.caller, place)
			}
		}
		if place != greedy+modest*each {
			t.Errorf("%d were admitted", place)
		}
	})
}

// A full queue makes room for who has fewer in it, at the expense of the last of
// who has most.
func TestAGreedyCallerYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, time.Hour)
		inside := comeAs(t, g, 1)
		var line []*comer
		for range leastQueue {
			line = append(line, comeAs(t, g, 1))
		}
		modest := comeAs(t, g, 2)
		if !modest.waits() {
			t.Fatalf("a modest caller is refused: %v", modest.err)
		}
		expect(t, "the greedy caller's last", line[leastQueue-1], ErrQueueFull)
		expect(t, "one more of the greedy caller's", comeAs(t, g, 1), ErrQueueFull)
		load(t, g, 1, leastQueue)
		g.Close()
		inside.tick.Leave()
	})
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
				ticket, err := enter(ctx, g, Caller(i%5))
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
	if ticket, err := enter(t.Context(), g, 1); err != nil {
		t.Errorf("after the crowd a place is missing: %v", err)
	} else {
		ticket.Leave()
	}
}
