package upstream

import (
	"bytes"
	"net"
	"sync"
)

// gatherer is a socket below TLS that can hold records back until they are
// flushed, so that many of them cost one system call. It is safe for concurrent
// use, as TLS needs it.
type gatherer struct {
	net.Conn

	mu        sync.Mutex
	gathering bool
	held      bytes.Buffer
}

// gather makes writes wait for flush from now on.
func (g *gatherer) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gathering = true
}

func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gathering {
		return g.Conn.Write(p)
	}
	return g.held.Write(p)
}

// flush writes what was held back and returns how much of it went out.
func (g *gatherer) flush() (n int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err = g.held.WriteTo(g.Conn)
	if g.held.Cap() > 2*uploadBacklog {
		g.held = bytes.Buffer{} // what once was large need not stay so
	}
	return n, err
}

// batch is what waits to be written to an HTTP/2 connection: frames, and where
// a TLS record must end. A frame with content shares its record with no other.
// TLS does not ask for that, but Tomcat 10.1 loses its place in content whose
// record goes on with another frame, and answers with an error or takes wrong
// bytes for right; records are gathered below TLS, so it costs next to nothing.
type batch struct {
	bytes.Buffer
	cuts []int
}

// cut ends the record.
func (b *batch) cut() { b.cuts = append(b.cuts, b.Len()) }

// writeTo writes the records and empties the batch. It returns how much was
// written in clear: all or nothing is known.
func (b *batch) writeTo(nc net.Conn, g *gatherer) (int, error) {
	frames, from := b.Bytes(), 0
	for _, end := range append(b.cuts, b.Len()) {
		if end == from {
			continue
		}
		if _, err := nc.Write(frames[from:end]); err != nil {
			return 0, err // of TLS itself: nothing of this batch has gone out
		}
		from = end
	}
	size := b.Len()
	b.cuts = b.cuts[:0]
	b.Reset()
	if b.Cap() > 2*uploadBacklog {
		*b = batch{}
	}
	if n, err := g.flush(); err != nil {
		if n == 0 {
			size = 0
		}
		return size, err
	}
	return size, nil
}
