package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// socket is a listening TCP socket that outlives whoever accepts from it: a
// lease. Between two leases, dials wait in the kernel's queue instead of being
// refused. It is safe for concurrent use; its owner must close it.
type socket struct {
	addr   string
	slots  slots
	errors acceptErrors

	mu     sync.Mutex
	ln     *net.TCPListener
	closed bool
}

// newSocket makes a socket for a host:port that has at most maxConns
// connections open at once. Nothing is bound yet.
func newSocket(addr string, maxConns int, errors acceptErrors) *socket {
	return &socket{addr: addr, slots: make(slots, maxConns), errors: errors}
}

// bind opens the socket if it is not open. The error names the address.
func (s *socket) bind() (*net.TCPListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("listen on %s: %w", s.addr, net.ErrClosed)
	}
	if s.ln == nil {
		ln, err := net.Listen("tcp", s.addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", s.addr, cause(err))
		}
		s.ln = ln.(*net.TCPListener)
	}
	return s.ln, nil
}

// cause strips what repeats the address.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// lease lends the socket until ctx ends. One lease may run at a time.
func (s *socket) lease(ctx context.Context) (l *lease, end func(), err error) {
	ln, err := s.bind()
	if err != nil {
		return nil, nil, err
	}
	if err := ln.SetDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("listen on %s: %w", s.addr, cause(err))
	}
	l = &lease{TCPListener: ln, slots: s.slots, errors: s.errors, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	return l, func() { stop() }, nil
}

// close closes the socket for good.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.ln != nil {
		_ = s.ln.Close()
	}
}

// lease is the socket in the hands of one server. Closing it gives the socket
// back; it does not close it.
type lease struct {
	*net.TCPListener
	slots  slots
	errors acceptErrors
	once   sync.Once
	done   chan struct{}
}

// Accept says net.ErrClosed once the lease has ended. A connection that came in
// the moment of the end is handed over all the same: its client was promised an
// answer when the kernel took it out of the queue. What one connection, or a
// lack of resources, makes fail is counted and tried again: the socket is well.
func (l *lease) Accept() (net.Conn, error) {
	if l.ended() || !l.slots.take(l.done) {
		return nil, net.ErrClosed
	}
	for pause := acceptPause; ; pause = min(2*pause, longestAcceptPause) {
		c, err := l.TCPListener.Accept()
		if err == nil {
			return newConn(c, l.slots.give), nil
		}
		if l.ended() {
			l.slots.give()
			return nil, net.ErrClosed
		}
		if !l.errors.count(err) {
			l.slots.give()
			return nil, err
		}
		select {
		case <-l.done:
		case <-time.After(pause):
		}
	}
}

func (l *lease) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *lease) Close() error {
	l.once.Do(func() {
		close(l.done)
		_ = l.SetDeadline(past)
	})
	return nil
}
