package edge

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"anthropic-oauth-proxy/internal/roll"
)

// Conn is a client's connection, the same from Accept to its end. Whoever
// serves it closes it; its Close gives back its place among the connections
// that may be open.
type Conn struct {
	net.Conn
	roll.Place[Conn]        // among those of its slots; guarded by their mu
	slots            *slots // where it has a place; nil without

	// idleSince, in nanoseconds since 1970, is 0 while a request is under way
	// and negative once closeIdle has closed the connection.
	idleSince atomic.Int64

	mu       sync.Mutex
	memories []any
	closed   bool
	ending   func() // run by the first Close; may be nil
}

func newConn(c net.Conn) *Conn { return &Conn{Conn: c} }

// atClose has f run behind the first Close, or now when that was.
func (c *Conn) atClose(f func()) {
	c.mu.Lock()
	before, closed := c.ending, c.closed
	switch {
	case closed:
	case before == nil:
		c.ending = f
	default:
		c.ending = func() { before(); f() }
	}
	c.mu.Unlock()
	if closed {
		f()
	}
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// rest says that no request is under way.
func (c *Conn) rest() { c.idleSince.Store(time.Now().UnixNano()) }

// stir says that one is; it is false when the connection was closed as idle in
// that moment.
func (c *Conn) stir() bool {
	since := c.idleSince.Load()
	return since >= 0 && c.idleSince.CompareAndSwap(since, 0)
}

// closeIdle closes the connection unless a request is under way on it, or has
// come already.
func (c *Conn) closeIdle() bool {
	since := c.idleSince.Load()
	if since <= 0 || c.readable() || !c.idleSince.CompareAndSwap(since, -1) {
		return false
	}
	_ = c.Close()
	return true
}

// Close closes the connection and frees its place. It may be called more than
// once, from any goroutine.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	ending, first := c.ending, !c.closed
	c.closed, c.ending = true, nil
	c.mu.Unlock()
	if first && c.slots != nil {
		c.slots.leave(c)
	}
	if ending != nil {
		ending()
	}
	return err
}

// Reset closes the connection so that its peer sees it break: what was sent
// and not yet received is lost. A connection that is no TCP is just closed.
func (c *Conn) Reset() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return c.Close()
}

// CloseWrite is the socket's own: half-closed, for a lingering close.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn is the socket's own.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}

// past is a deadline that ends whatever waits.
var past = time.Unix(1, 0)

// connKey finds the connection in a context.
type connKey struct{}

// WithConn gives a context the connection whose requests it is for. Servers do
// it by themselves.
func WithConn(ctx context.Context, c *Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// context is the connection's own: it carries the connection, and never ends.
func (c *Conn) context() context.Context { return (*connContext)(c) }

// connContext is WithConn of the background, without memory of its own.
type connContext Conn

func (c *connContext) Deadline() (deadline time.Time, ok bool) { return }
func (c *connContext) Done() <-chan struct{}                   { return nil }
func (c *connContext) Err() error                              { return nil }
func (c *connContext) Value(key any) any {
	if key == (connKey{}) {
		return (*Conn)(c)
	}
	return nil
}

func connOf(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Memory is what the connection behind a request's context remembers as a T:
// one value, made at the first call, that dies with the connection. Requests
// of one HTTP/2 connection share it. It is nil without a connection.
func Memory[T any](ctx context.Context) *T {
	c := connOf(ctx)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.memories {
		if m, ok := m.(*T); ok {
			return m
		}
	}
	m := new(T)
	c.memories = append(c.memories, m)
	return m
}
