package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// socket is a listening TCP socket that outlives whoever accepts from it: a
// lease. Between two leases, dials wait in the kernel's queue instead of being
// refused. It is safe for concurrent use; its owner must close it.
type socket struct {
	addr    string
	slots   *slots
	errors  acceptErrors
	reserve *reserve // nil but on the admin port

	mu     sync.Mutex
	ln     *net.TCPListener
	closed bool
}

// newSocket makes a socket for a host:port that has at most maxConns
// connections open at once. Nothing is bound yet.
func newSocket(addr string, maxConns int, errors acceptErrors) *socket {
	return &socket{addr: addr, slots: newSlots(maxConns), errors: errors}
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
	l = &lease{TCPListener: ln, accept: ln.Accept, slots: s.slots, errors: s.errors, reserve: s.reserve, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	// A Close that has begun is waited for: its deadline must not come after the
	// next lease has lifted it.
	return l, func() { stop(); _ = l.Close() }, nil
}

// close closes the socket for good.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.ln != nil {
		_ = s.ln.Close()
	}
	s.reserve.close()
}

// lease is the socket in the hands of one server. Closing it gives the socket
// back; it does not close it.
type lease struct {
	*net.TCPListener
	accept  func() (net.Conn, error) // the listener's
	slots   *slots
	errors  acceptErrors
	reserve *reserve
	once    sync.Once
	done    chan struct{}
}

// Accept says net.ErrClosed once the lease has ended. A connection that came in
// the moment of the end is handed over all the same: its client was promised an
// answer when the kernel took it out of the queue. What one connection, or a
// lack of resources, makes fail is counted and tried again: the socket is well.
func (l *lease) Accept() (net.Conn, error) {
	for pause := acceptPause; !l.ended(); pause = min(2*pause, longestAcceptPause) {
		c, err := l.accept()
		switch {
		case err == nil:
			return l.hold(newConn(c)), nil
		case l.ended():
			return nil, net.ErrClosed
		case !l.errors.count(err):
			return nil, err
		case scarce(err) && (l.reserve.spend() || l.slots.evict()):
			continue
		}
		select {
		case <-l.done:
		case <-time.After(pause):
		}
	}
	return nil, net.ErrClosed
}

// hold waits for a place, and has the connection give back with its Close what
// it takes.
func (l *lease) hold(c *Conn) *Conn {
	l.slots.hold(c, l.done)
	if l.reserve != nil {
		c.atClose(l.reserve.refill)
	}
	return c
}

// scarce reports whether it is descriptors that lack.
func scarce(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

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
