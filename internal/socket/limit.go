package socket

import (
	"net"
	"net/http"
)

// slots bound the connections that are open at once, so that clients which
// connect and say nothing cannot take all memory. Above the bound, dials wait
// in the kernel's queue.
type slots chan struct{}

// take waits for a slot; it is false when done closes first.
func (s slots) take(done <-chan struct{}) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

func (s slots) give() { <-s }

// ConnState frees the place of a connection that has ended. It is for the
// http.Server.ConnState of every server that the socket serves.
func (s *Socket) ConnState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		s.slots.give()
	}
}
