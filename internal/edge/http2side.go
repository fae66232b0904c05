package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// http2Side serves the connections that turn out to speak HTTP/2: the first few
// with wide windows, the others with narrow ones.
type http2Side struct {
	wide, narrow *http2Port
	widths       atomic.Int32 // wide connections that are open
}

func newHTTP2Side(h Handler, o Options) *http2Side {
	return &http2Side{
		wide:   newHTTP2Port(http2Server(overHTTP2{h}, o, wideWindow)),
		narrow: newHTTP2Port(http2Server(overHTTP2{h}, o, narrowWindow)),
	}
}

// take serves a connection of which something was read already. It is false
// when the door has closed.
func (s *http2Side) take(c *Conn, read []byte) bool {
	port := s.narrow
	if s.widths.Add(1) <= wideConns {
		port = s.wide
		c.atClose(func() { s.widths.Add(-1) })
	} else {
		s.widths.Add(-1)
	}
	return port.give(&prefaced{Conn: c, read: read})
}

func (s *http2Side) Shutdown(ctx context.Context) error {
	return errors.Join(s.wide.Shutdown(ctx), s.narrow.Shutdown(ctx))
}

func (s *http2Side) Close() error { return errors.Join(s.wide.Close(), s.narrow.Close()) }

// http2Port is a server of net/http with the listener through which
// connections reach it. It serves from the first one on.
type http2Port struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	end    sync.Once
	begin  sync.Once
	serve  sync.WaitGroup
}

func newHTTP2Port(s *http.Server) *http2Port {
	return &http2Port{server: s, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *http2Port) give(c net.Conn) bool {
	p.begin.Do(func() { p.serve.Go(func() { _ = p.server.Serve(p.listener()) }) })
	select {
	case p.conns <- c:
		return true
	case <-p.done:
		return false
	}
}

func (p *http2Port) stop() {
	p.end.Do(func() { close(p.done) })
	p.begin.Do(func() {}) // or wait for who begins just now
}

// Shutdown is the server's.
func (p *http2Port) Shutdown(ctx context.Context) error {
	p.stop()
	err := p.server.Shutdown(ctx)
	p.serve.Wait()
	return err
}

// Close is the server's.
func (p *http2Port) Close() error {
	p.stop()
	err := p.server.Close()
	p.serve.Wait()
	return err
}

func (p *http2Port) listener() net.Listener { return (*handover)(p) }

// handover is the listener of an http2Port.
type handover http2Port

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error   { (*http2Port)(h).stop(); return nil }
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Name: "handover"} }

// prefaced is a connection of which something was read already.
type prefaced struct {
	*Conn
	read []byte
}

func (p *prefaced) Read(b []byte) (int, error) {
	if len(p.read) > 0 {
		n := copy(b, p.read)
		p.read = p.read[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
