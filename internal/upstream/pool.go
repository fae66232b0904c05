package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"
)

// ConnectTimeout bounds a TCP connect and the TLS handshake after it together.
const ConnectTimeout = 5 * time.Second

// What HTTP/1.1 connections may wait without a request: each for idleTimeout,
// and maxIdle of them, so that a burst leaves no crowd of sockets behind.
const (
	idleTimeout = 90 * time.Second
	maxIdle     = 256
)

// streamsPerDial is how many waiting requests one HTTP/2 connection is
// expected to serve; the API's limit, like most servers', is 100 or above.
const streamsPerDial = 100

// conn is a connection with room for one more request.
type conn interface {
	// roundTrip uses the reserved place, or gives it back: for a context that
	// has ended nothing is sent.
	roundTrip(ctx context.Context, req *Request) (*Response, error)
}

// Pool keeps the connections to one API. It is safe for concurrent use.
type Pool struct {
	target  *url.URL
	address string // host:port
	tls     *tls.Config
	dialer  func(ctx context.Context, network, address string) (net.Conn, error)

	ctx    context.Context // ends dials on Close
	cancel context.CancelCauseFunc
	dials  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	http1   bool                 // the last connection negotiated nothing better
	shared  []*h2Conn            // HTTP/2 connections, oldest first
	idle    []*h1Conn            // HTTP/1.1 connections without a request, last used last
	open    map[*h1Conn]struct{} // HTTP/1.1 connections, idle or not
	pending []*dial              // dials in progress
	waiting int                  // requests that wait for one of them
	reaper  *time.Timer          // closes what stays idle; nil while nothing is idle
}

// dial is a connection in the making that several requests may wait for.
type dial struct {
	done chan struct{}
	conn *h1Conn // for the request that began it, when it speaks HTTP/1.1
	err  error
	left bool // that request stopped waiting; guarded by the pool's mu
}

// Options are what tests and the embedding program may choose.
type Options struct {
	// TLS is the base configuration; nil means the system's roots. TLS 1.2 is
	// the least that is spoken.
	TLS *tls.Config
	// Dial opens the TCP connection; nil means the system's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// New makes a pool for an http or https URL with a host. Nothing is dialled
// until the first request. The owner must Close it.
func New(target *url.URL, o Options) *Pool {
	p := &Pool{target: target, address: hostPort(target), dialer: o.Dial, open: make(map[*h1Conn]struct{})}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	if p.dialer == nil {
		p.dialer = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	if target.Scheme != "https" {
		p.http1 = true
		return p
	}
	p.tls = &tls.Config{}
	if o.TLS != nil {
		p.tls = o.TLS.Clone()
	}
	p.tls.MinVersion = max(p.tls.MinVersion, tls.VersionTLS12)
	p.tls.NextProtos = []string{"h2", "http/1.1"}
	p.tls.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	if p.tls.ServerName == "" {
		p.tls.ServerName = target.Hostname()
	}
	return p
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Connections counts the open connections of each protocol.
func (p *Pool) Connections() (h1, h2 int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	return len(p.open), len(p.shared)
}

// Close ends every connection and waits for the dials in progress. Exchanges
// in flight fail.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	open, shared := p.open, p.shared
	p.open, p.idle, p.shared = nil, nil, nil
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
	p.mu.Unlock()
	p.cancel(ErrClosed)
	for c := range open {
		c.close()
	}
	for _, c := range shared {
		c.close()
	}
	p.dials.Wait()
}

// acquire returns a connection with a place reserved for one request.
func (p *Pool) acquire(ctx context.Context) (conn, error) {
	for {
		if ctx.Err() != nil {
			return nil, &Error{Stage: Unsent, Err: context.Cause(ctx)}
		}
		if c := p.ready(); c != nil {
			return c, nil
		}
		d, mine := p.join()
		if d == nil {
			return nil, &Error{Stage: Unsent, Dial: true, Err: ErrClosed}
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			p.leave(d, mine)
			return nil, &Error{Stage: Unsent, Dial: true, Err: context.Cause(ctx)}
		}
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
		if d.err != nil {
			return nil, d.err
		}
		if mine && d.conn != nil {
			return d.conn, nil
		}
	}
}

// ready finds a connection that is open already.
func (p *Pool) ready() conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.shared {
		if c.reserve() {
			return c
		}
	}
	p.prune()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if c.alive() {
			return c
		}
		delete(p.open, c)
		c.close()
	}
	return nil
}

// join waits for a dial in progress where it can be shared, and begins one
// where it cannot. A dial is shared as long as the API may speak HTTP/2: one
// connection then serves them all.
func (p *Pool) join() (d *dial, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	p.waiting++
	if n := len(p.pending); n > 0 && !p.http1 && p.waiting <= n*streamsPerDial {
		return p.pending[n-1], false
	}
	d = &dial{done: make(chan struct{})}
	p.pending = append(p.pending, d)
	p.dials.Add(1)
	go p.run(d)
	return d, true
}

// leave is for a request that stopped waiting. Its dial goes on: the
// connection serves somebody else.
func (p *Pool) leave(d *dial, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if !mine {
		return
	}
	d.left = true
	if d.conn != nil {
		p.keep(d.conn)
	}
}

// run makes the connection of d.
func (p *Pool) run(d *dial) {
	defer p.dials.Done()
	ctx, cancel := context.WithTimeout(p.ctx, ConnectTimeout)
	defer cancel()
	h1, h2, err := p.connect(ctx)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = slices.DeleteFunc(p.pending, func(other *dial) bool { return other == d })
	switch {
	case err != nil:
		d.err = err
	case p.closed:
		d.err = &Error{Stage: Unsent, Dial: true, Err: ErrClosed}
		if h1 != nil {
			h1.close()
		} else {
			h2.close()
		}
	case h2 != nil:
		p.http1 = false
		p.shared = append(p.shared, h2)
	default:
		p.http1 = true
		p.open[h1] = struct{}{}
		d.conn = h1
		if d.left {
			p.keep(h1)
		}
	}
	close(d.done)
}

// prune drops the HTTP/2 connections that have closed. The caller holds mu.
func (p *Pool) prune() {
	p.shared = slices.DeleteFunc(p.shared, func(c *h2Conn) bool { return c.dead() })
}

// release takes back an HTTP/1.1 connection whose exchange ended cleanly.
func (p *Pool) release(c *h1Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(c)
}

// keep makes an open connection an idle one, if there is room. The caller
// holds mu.
func (p *Pool) keep(c *h1Conn) {
	if p.closed || len(p.idle) == maxIdle {
		delete(p.open, c)
		c.close()
		return
	}
	c.idleSince = time.Now()
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(idleTimeout, p.reap)
	}
}

// discard is for an HTTP/1.1 connection that cannot be used again.
func (p *Pool) discard(c *h1Conn) {
	c.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// reap closes the connections that have been idle for too long. The oldest
// stand first.
func (p *Pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].idleSince) >= idleTimeout {
		p.idle[n].close()
		delete(p.open, p.idle[n])
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
	if len(p.idle) == 0 {
		p.reaper = nil
		return
	}
	p.reaper = time.AfterFunc(idleTimeout-time.Since(p.idle[0].idleSince), p.reap)
}
