// Package socket keeps a listening TCP socket open across the restarts of
// whoever accepts from it. Between two leases, dials wait in the kernel's
// queue instead of being refused.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Socket is a listening socket that outlives its users. It is safe for
// concurrent use; its owner must Close it.
type Socket struct {
	// Dress, when not nil, wraps every connection for the server. It is set
	// before the first Serve.
	Dress func(net.Conn) net.Conn

	addr  string
	slots slots

	mu     sync.Mutex
	ln     *net.TCPListener
	closed bool
}

// New makes a socket for a host:port that has at most maxConns connections
// open at once. Nothing is bound yet.
func New(addr string, maxConns int) *Socket {
	return &Socket{addr: addr, slots: make(slots, maxConns)}
}

// Bind opens the socket if it is not open. The error names the address.
func (s *Socket) Bind() (net.Addr, error) {
	ln, err := s.bind()
	if err != nil {
		return nil, err
	}
	return ln.Addr(), nil
}

func (s *Socket) bind() (*net.TCPListener, error) {
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

// Addr is the configured address, whether bound or not.
func (s *Socket) Addr() string { return s.addr }

// Serve binds the socket if need be and lets server accept from it until ctx
// ends, and returns ctx's error then. The server's connections go on: they
// belong to the server, not to this call. One Serve may run at a time.
func (s *Socket) Serve(ctx context.Context, server *http.Server) error {
	ln, err := s.bind()
	if err != nil {
		return err
	}
	if err := ln.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, cause(err))
	}
	l := &lease{TCPListener: ln, slots: s.slots, dress: s.Dress, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	err = server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-ctx.Done() // the server was shut down on purpose; so will its user be
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("serve %s: %w", s.addr, err)
}

// Close closes the socket for good.
func (s *Socket) Close() {
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
	slots slots
	dress func(net.Conn) net.Conn
	once  sync.Once
	done  chan struct{}
}

// Accept says net.ErrClosed once the lease has ended. A connection that came in
// the moment of the end is handed over all the same: its client was promised an
// answer when the kernel took it out of the queue.
func (l *lease) Accept() (net.Conn, error) {
	if l.ended() || !l.slots.take(l.done) {
		return nil, net.ErrClosed
	}
	c, err := l.TCPListener.Accept()
	if err != nil {
		l.slots.give()
		if l.ended() {
			return nil, net.ErrClosed
		}
		return nil, err
	}
	if l.dress != nil {
		c = l.dress(c)
	}
	return c, nil
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
		_ = l.SetDeadline(time.Unix(1, 0))
	})
	return nil
}
