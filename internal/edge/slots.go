package edge

import (
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/roll"
)

// slots bound the connections that are open at once, so that clients which
// connect and say nothing cannot take all memory. Above the bound, the one that
// has been idle longest makes room; while none is idle, one more waits here and
// the others in the kernel's queue.
type slots struct {
	places chan struct{}

	mu   sync.Mutex
	open roll.Roll[Conn, *Conn]
}

func newSlots(n int) *slots {
	return &slots{places: make(chan struct{}, n)}
}

// lookAgain is how often a dial that waits looks for somebody idle.
const lookAgain = 50 * time.Millisecond

// hold waits until the connection has a place, which its Close gives back. When
// done closes first, it goes without.
func (s *slots) hold(c *Conn, done <-chan struct{}) {
	if !s.take(done) {
		return
	}
	c.slots = s
	s.mu.Lock()
	s.open.Enter(c)
	s.mu.Unlock()
}

// leave gives the place of a connection back.
func (s *slots) leave(c *Conn) {
	s.mu.Lock()
	s.open.Strike(c)
	s.mu.Unlock()
	<-s.places
}

// take waits for a place; it is false when done closes first.
func (s *slots) take(done <-chan struct{}) bool {
	for {
		select {
		case s.places <- struct{}{}:
			return true
		default:
		}
		s.evict()
		select {
		case s.places <- struct{}{}:
			return true
		case <-done:
			return false
		case <-time.After(lookAgain):
		}
	}
}

// evict closes the connection that has been idle longest. It is false when
// none is idle.
func (s *slots) evict() bool {
	s.mu.Lock()
	var oldest *Conn
	var since int64
	for c := range s.open.All() {
		if at := c.idleSince.Load(); at > 0 && (oldest == nil || at < since) {
			oldest, since = c, at
		}
	}
	s.mu.Unlock()
	return oldest != nil && oldest.closeIdle()
}
