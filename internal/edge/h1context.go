package edge

import (
	"context"
	"time"
)

// h1context is the context of an exchange: the exchange itself, without memory
// of its own but a channel, once somebody waits for it. Its error is the cause
// with which it was ended, which is also what [context.Cause] says of it.
type h1context h1exchange

// h1end is what an exchange keeps of its end and of those who follow that. The
// exchange's mu guards it.
type h1end struct {
	cause     error         // nil before the end
	done      chan struct{} // nil while nobody waits
	atEnd     func()        // nil when none is named
	followers *follower
}

// follower is one of those who hear of the end, in a list.
type follower struct {
	hear func()
	next *follower
}

func (c *h1context) Deadline() (deadline time.Time, ok bool) { return }
func (c *h1context) Value(key any) any                       { return c.c.context().Value(key) }

func (c *h1context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

func (c *h1context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.cause != nil {
			close(c.done)
		}
	}
	return c.done
}

// AfterFunc is what the library's contexts follow a foreign one by, which would
// cost them a goroutine each without it. Who follows before the end hears of it
// before End returns.
func (c *h1context) AfterFunc(hear func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		go hear()
		return func() bool { return false }
	}
	f := &follower{hear, c.followers}
	c.followers = f
	return func() bool { return c.unfollow(f) }
}

func (c *h1context) unfollow(f *follower) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := &c.followers; *at != nil; at = &(*at).next {
		if *at == f {
			*at = f.next
			return true
		}
	}
	return false
}

func (x *h1exchange) Context() context.Context { return (*h1context)(x) }

// End tells whoever AtEnd has named, too.
func (x *h1exchange) End(cause error) {
	x.mu.Lock()
	if x.cause != nil {
		x.mu.Unlock()
		return
	}
	x.cause = cause
	if x.done != nil {
		close(x.done)
	}
	f, atEnd := x.followers, x.atEnd
	x.followers, x.atEnd = nil, nil
	x.mu.Unlock()
	for ; f != nil; f = f.next {
		f.hear()
	}
	if atEnd != nil {
		go atEnd()
	}
}

// AtEnd does what context.AfterFunc would, which costs a waiting exchange more
// memory than all the rest of its context.
func (x *h1exchange) AtEnd(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f != nil && x.cause != nil {
		go f()
		f = nil
	}
	x.atEnd = f
}

// forgetWaiting frees the channel of those who wait for the end; nobody does.
func (x *h1exchange) forgetWaiting() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.done = nil
	}
}
