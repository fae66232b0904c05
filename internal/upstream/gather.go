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
	held      pending
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
	if g.held.Len() > 0 {
		n, err = g.held.lent.WriteTo(g.Conn)
	}
	g.held.drop()
	return n, err
}

// batch is what waits to be written to an HTTP/2 connection: frames, and where
// a TLS record must end. A frame with content shares its record with no other.
// TLS does not ask for that, but Tomcat 10.1 loses its place in content whose
// record goes on with another frame, and answers with an error or takes wrong
// bytes for right; records are gathered below TLS, so it costs next to nothing.
type batch struct {
	pending
	cuts []int
}

// cut ends the record.
func (b *batch) cut() { b.cuts = append(b.cuts, b.Len()) }

// writeTo writes the records and empties the batch. It returns how much was
// written in clear: all or nothing is known.
func (b *batch) writeTo(nc net.Conn, g *gatherer) (int, error) {
	defer b.drop()
	frames, from := b.bytes(), 0
	for _, end := range append(b.cuts, len(frames)) {
		if end == from {
			continue
		}
		if _, err := nc.Write(frames[from:end]); err != nil {
			return 0, err // of TLS itself: nothing of this batch has gone out
		}
		from = end
	}
	if n, err := g.flush(); err != nil {
		if n == 0 {
			return 0, err
		}
		return len(frames), err
	}
	return len(frames), nil
}

// pending is a buffer that is borrowed while something waits in it.
type pending struct{ lent *bytes.Buffer }

var sendBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Write never fails.
func (p *pending) Write(b []byte) (int, error) {
	if p.lent == nil {
		p.lent = sendBuffers.Get().(*bytes.Buffer)
	}
	return p.lent.Write(b)
}

func (p *pending) Len() int { return len(p.bytes()) }

func (p *pending) bytes() []byte {
	if p.lent == nil {
		return nil
	}
	return p.lent.Bytes()
}

// drop empties it. What once was large need not stay so.
func (p *pending) drop() {
	if p.lent != nil && p.lent.Cap() <= 2*uploadBacklog {
		p.lent.Reset()
		sendBuffers.Put(p.lent)
	}
	p.lent = nil
}
