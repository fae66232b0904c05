package lab

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// A Gate is a TCP forwarder that can break in the ways a network can. Closing
// a server's connections is not enough: some are hijacked and live on.
type Gate struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	hung   chan struct{} // closed when bytes may flow; nil when they may
	conns  map[net.Conn]struct{}
	closed bool
}

// newGate forwards a fresh loopback port to target.
func newGate(target string) (*Gate, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open gate: %w", err)
	}
	g := &Gate{target: target, ln: ln, conns: map[net.Conn]struct{}{}}
	g.wg.Go(g.accept)
	return g, nil
}

// Addr is where clients dial.
func (g *Gate) Addr() *net.TCPAddr { return g.ln.Addr().(*net.TCPAddr) }

// Cut breaks every connection, and every new one at once.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = true
	g.dropLocked()
}

// Hang keeps connections open, and accepts new ones, but moves no byte.
func (g *Gate) Hang() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hung == nil {
		g.hung = make(chan struct{})
	}
}

// Open heals the gate. Connections that hung go on.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = false
	g.releaseLocked()
}

// Close ends everything and waits for it.
func (g *Gate) Close() {
	g.ln.Close()
	g.mu.Lock()
	g.closed = true
	g.dropLocked()
	g.releaseLocked()
	g.mu.Unlock()
	g.wg.Wait()
}

func (g *Gate) dropLocked() {
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
}

func (g *Gate) releaseLocked() {
	if g.hung != nil {
		close(g.hung)
		g.hung = nil
	}
}

func (g *Gate) accept() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return // closed
		}
		g.wg.Go(func() { g.forward(c) })
	}
}

func (g *Gate) forward(client net.Conn) {
	defer client.Close()
	if !g.track(client) {
		return
	}
	defer g.forget(client)
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !g.track(server) {
		return
	}
	defer g.forget(server)
	var up sync.WaitGroup
	up.Go(func() {
		g.copy(server, client)
		server.Close()
		client.Close()
	})
	g.copy(client, server)
	server.Close()
	client.Close()
	up.Wait()
}

// copy moves bytes while the gate is not hung.
func (g *Gate) copy(dst io.Writer, src io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		g.mu.Lock()
		hung := g.hung
		g.mu.Unlock()
		if hung != nil {
			<-hung
		}
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (g *Gate) track(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut || g.closed {
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *Gate) forget(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}
