package edge

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// engine serves a port's connections: HTTP/1 by itself, and cleartext HTTP/2,
// which begins on the same connections, by net/http's server.
type engine struct {
	handler Handler
	log     zerolog.Logger
	http2   *http2Side
	born    time.Time

	closing atomic.Bool
	running sync.WaitGroup // goroutines, but for those of connections

	mu    sync.Mutex
	conns map[uint64]*h1conn // by their keys
	last  uint64             // of the keys
	watch *watcher           // of the connections; nil before the first and after the last
	clock *time.Timer        // over those that lie; nil while none does
	empty chan struct{}      // closed when no connection is left after closing
}

func newEngine(h Handler, log zerolog.Logger, http2 *http2Side) *engine {
	return &engine{handler: h, log: log, http2: http2, born: time.Now(), conns: map[uint64]*h1conn{}, empty: make(chan struct{})}
}

// Serve accepts until the listener ends, and returns its error.
func (e *engine) Serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		h := e.newConn(c.(*Conn))
		if !e.remember(h) {
			_ = h.Close()
			continue
		}
		go h.serve()
	}
}

// remember is false once the door is closed.
func (e *engine) remember(c *h1conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Load() {
		return false
	}
	e.last++
	c.key = e.last
	e.conns[c.key] = c
	if c.in.raw == nil {
		return true // no socket, nothing to watch
	}
	if e.watch == nil {
		e.watch = newWatcher(e.find, &e.running)
	}
	c.watched = e.watch.add(c)
	return true
}

// find is the connection of a key; nil when it is forgotten.
func (e *engine) find(key uint64) *h1conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns[key]
}

func (e *engine) forget(c *h1conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c.key)
	e.checkEmpty()
}

// checkEmpty ends what serves connections when none is left and none will come.
func (e *engine) checkEmpty() {
	if !e.closing.Load() || len(e.conns) > 0 {
		return
	}
	select {
	case <-e.empty:
		return
	default:
	}
	close(e.empty)
	if e.watch != nil {
		e.watch.close()
	}
}

// handOver gives a connection to the server of HTTP/2, with what was read.
func (e *engine) handOver(c *h1conn) {
	_ = c.SetReadDeadline(time.Time{})
	read := append([]byte(nil), c.in.bytes()...)
	c.in.drop()
	if !e.http2.take(c.Conn, read) {
		_ = c.Close()
	}
	e.forget(c)
}

// closeDoor closes what is idle and has everything else end with its answer.
func (e *engine) closeDoor() {
	e.mu.Lock()
	already := e.closing.Swap(true)
	all := make([]*h1conn, 0, len(e.conns))
	for _, c := range e.conns {
		all = append(all, c)
	}
	e.checkEmpty()
	e.mu.Unlock()
	if already {
		return
	}
	for _, c := range all {
		c.closeIdle()
	}
	_ = e.http2.Shutdown(expired)
}

// Shutdown closes the door and waits for the last connection. When ctx ends
// first, that is its error.
func (e *engine) Shutdown(ctx context.Context) error {
	e.closeDoor()
	select {
	case <-e.empty:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := e.http2.Shutdown(ctx)
	if err == nil {
		e.running.Wait()
	}
	return err
}

// Close cuts every connection. It does not wait for their handlers.
func (e *engine) Close() error {
	e.closeDoor()
	e.mu.Lock()
	for _, c := range e.conns {
		_ = c.Close()
		c.hangUp()
	}
	e.mu.Unlock()
	return e.http2.Close()
}

var errNoWatcher = errors.New("connections cannot be watched")
