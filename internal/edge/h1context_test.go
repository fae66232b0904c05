package edge

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

var errWhy = errors.New("why")

// contextOf makes an exchange for its context.
func contextOf(t *testing.T) *h1exchange {
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return newEngine(nil, zerolog.Nop(), nil).newConn(newConn(here)).newExchange(Request{})
}

func TestAnExchangesContext(t *testing.T) {
	x := contextOf(t)
	ctx := x.Context()
	if _, limited := ctx.Deadline(); limited || ctx.Err() != nil || context.Cause(ctx) != nil || connOf(ctx) != x.c.Conn {
		t.Errorf("limited %v, error %v, cause %v, connection %p; want none and %p", limited, ctx.Err(), context.Cause(ctx), connOf(ctx), x.c.Conn)
	}
	select {
	case <-ctx.Done():
		t.Error("it has ended")
	default:
	}
	x.End(errWhy)
	x.End(ErrGone)
	<-ctx.Done()
	if ctx.Err() != errWhy || context.Cause(ctx) != errWhy {
		t.Errorf("error %v, cause %v, want %v", ctx.Err(), context.Cause(ctx), errWhy)
	}
	late := contextOf(t)
	late.End(errWhy)
	<-late.Context().Done() // also for who asks behind the end
}

// followers make contexts of the library's below ctx; all of them end with it.
func followers(ctx context.Context) (all []context.Context, cancel func()) {
	cause, cancelCause := context.WithCancelCause(ctx)
	timeout, cancelTimeout := context.WithTimeout(ctx, time.Hour)
	heard, hear := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { hear(context.Cause(ctx)) })
	return []context.Context{cause, timeout, heard}, func() {
		cancelCause(nil)
		cancelTimeout()
		stop()
		hear(nil)
	}
}

// Contexts below an exchange's end with it, cost no goroutine, and are forgotten
// when they end before it.
func TestContextsBelowAnExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := contextOf(t)
		before := runtime.NumGoroutine()
		_, cancel := followers(x.Context())
		cancel()
		if x.followers != nil {
			t.Error("who has ended still follows")
		}
		all, cancel := followers(x.Context())
		defer cancel()
		if now := runtime.NumGoroutine(); now != before {
			t.Errorf("%d goroutines, were %d", now, before)
		}
		x.forgetWaiting() // as a parked one does: they follow all the same
		x.End(errWhy)
		for i, ctx := range all[:2] {
			if context.Cause(ctx) != errWhy {
				t.Errorf("context %d: cause %v when End has returned, want %v", i, context.Cause(ctx), errWhy)
			}
		}
		late, cancel := followers(x.Context())
		defer cancel()
		for i, ctx := range append(all, late...) {
			if <-ctx.Done(); context.Cause(ctx) != errWhy {
				t.Errorf("context %d: cause %v, want %v", i, context.Cause(ctx), errWhy)
			}
		}
	})
}

// A parked exchange has no channel, and one again once somebody waits.
func TestAParkedExchangesContext(t *testing.T) {
	x := contextOf(t)
	<-func() <-chan struct{} {
		x.Context().Done()
		x.forgetWaiting()
		if x.done != nil {
			t.Error("the channel is kept")
		}
		done := x.Context().Done()
		x.End(errWhy)
		x.forgetWaiting()
		return done
	}()
	<-x.Context().Done()
}

// Any goroutine may do any of it at any time.
func TestAnExchangesContextIsShared(t *testing.T) {
	for range 200 {
		x := contextOf(t)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				if i == 0 {
					x.End(errWhy)
					return
				}
				below, cancel := followers(x.Context())
				if i%2 == 0 {
					cancel()
					return
				}
				defer cancel()
				for _, ctx := range below {
					<-ctx.Done()
				}
			})
		}
		all.Wait()
	}
}
