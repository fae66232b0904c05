package standard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"

	"anthropic-oauth-proxy/internal/upstream"
)

// NewConns makes an Engine over single connections of HTTP/1.1, each an
// [http.ClientConn]: what the product's would be without a reader and a writer
// of its own. The owner must Close it.
func NewConns(target *url.URL, o upstream.Options) *Engine {
	host, port := upstream.HostPort(target)
	c := &conns{transport: transport(o), scheme: target.Scheme, address: net.JoinHostPort(host, port)}
	c.transport.Protocols = new(http.Protocols)
	c.transport.Protocols.SetHTTP1(true)
	return &Engine{target, c, c.close}
}

// conns keeps connections for reuse, the last used first.
type conns struct {
	transport       *http.Transport
	scheme, address string

	mu     sync.Mutex
	idle   []*http.ClientConn
	closed bool
}

// RoundTrip is the [http.RoundTripper]'s.
func (c *conns) RoundTrip(req *http.Request) (*http.Response, error) {
	conn := c.reserve()
	if conn == nil {
		var err error
		if conn, err = c.dial(req.Context()); err != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, err
		}
	}
	httptrace.ContextClientTrace(req.Context()).GotConn(httptrace.GotConnInfo{})
	return conn.RoundTrip(req)
}

// reserve is nil when a new connection is needed.
func (c *conns) reserve() *http.ClientConn {
	for {
		conn := c.take()
		if conn == nil || conn.Reserve() == nil {
			return conn
		}
	}
}

func (c *conns) take() *http.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	conn := c.idle[n-1]
	c.idle = c.idle[:n-1]
	return conn
}

func (c *conns) dial(ctx context.Context) (*http.ClientConn, error) {
	conn, err := c.transport.NewClientConn(ctx, c.scheme, c.address)
	if err != nil {
		return nil, err
	}
	if err := conn.Reserve(); err != nil {
		return nil, err
	}
	conn.SetStateHook(c.changed)
	return conn, nil
}

// changed keeps a connection whose exchange has ended.
func (c *conns) changed(conn *http.ClientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.Index(c.idle, conn)
	switch {
	case conn.Err() != nil && known >= 0:
		c.idle = slices.Delete(c.idle, known, known+1)
	case conn.Available() == 0 || known >= 0:
	case c.closed:
		go conn.Close() // it would call us
	default:
		c.idle = append(c.idle, conn)
	}
}

func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, conn := range idle {
		_ = conn.Close()
	}
}
