package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// conn is a connection with room for one more request.
type conn interface {
	// roundTrip uses the reserved place, or gives it back: for a context that
	// has ended nothing is sent. With errPlaceLost the request is as it was.
	roundTrip(ctx context.Context, req *Request) (*Response, error)
}

// Pool keeps the connections to one API. It is safe for concurrent use.
type Pool struct {
	target  *url.URL
	connect *connector
	budget  budget
	metrics *metrics
	log     zerolog.Logger
	quiet   *quietLog

	ctx     context.Context // ends dials and the keeper on Close
	cancel  context.CancelCauseFunc
	work    sync.WaitGroup // dials and the keeper
	stir    chan struct{}  // has a token when the line may move
	alarm   *time.Timer    // wakes the keeper; set under mu
	waiting atomic.Int64   // length of the line

	mu     sync.Mutex
	closed bool
	line   []*waiter            // requests without a place, oldest first
	http1  bool                 // the last connection negotiated nothing better
	shared []*h2Conn            // HTTP/2 connections, oldest first
	idle   []*h1Conn            // HTTP/1.1 connections without a request, last used last
	open   map[*h1Conn]struct{} // HTTP/1.1 connections, idle or not
	growth dialPlan
	reaper *time.Timer // closes what stays idle; nil while nothing is idle
}

// waiter is a request without a place.
type waiter struct {
	served chan struct{} // closed once it has what it waits for
	conn   conn
	err    error
}

// Options are what tests and the embedding program may choose.
type Options struct {
	// TLS is the base configuration, for the API and an egress proxy; nil means
	// the system's roots. TLS 1.2 is the least that is spoken.
	TLS *tls.Config
	// Dial opens the TCP connection; nil means the system's. Without Lookup it
	// gets the name as it is.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup resolves a name; nil means the system's.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// EgressProxy is an http or https URL of an HTTP proxy that leads to the
	// API, nil for a direct way. EgressAuthorization is the value of its
	// Proxy-Authorization; it is in no error and no log.
	EgressProxy         *url.URL
	EgressAuthorization string
	// Log hears of connections: what the API ends and what cannot be made.
	Log zerolog.Logger
}

// New makes a pool for an http or https URL with a host. Nothing is dialled
// until the first request. The owner must Close it.
func New(target *url.URL, o Options) *Pool {
	p := &Pool{
		target: target, connect: newConnector(target, o), metrics: newMetrics(), log: o.Log, quiet: newQuietLog(o.Log),
		open: make(map[*h1Conn]struct{}), stir: make(chan struct{}, 1), alarm: time.NewTimer(time.Hour),
		http1: target.Scheme != "https", growth: dialPlan{places: assumedStreams},
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.work.Add(1)
	go p.keepLine()
	return p
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
	p.failLine(len(p.line), errPoolClosed)
	p.mu.Unlock()
	p.cancel(ErrClosed)
	for c := range open {
		c.close()
	}
	for _, c := range shared {
		c.close()
	}
	p.work.Wait()
}

var errPoolClosed = &Error{Stage: Unsent, Dial: true, Cause: CauseClosed, Err: ErrClosed}

// acquire returns a connection with a place reserved for one request. While
// there is none the request waits in line, for as long as ctx lives: the API
// allows so many at once, and says so (RFC 9113 5.1.2).
func (p *Pool) acquire(ctx context.Context) (conn, error) {
	if ctx.Err() != nil {
		return nil, &Error{Stage: Unsent, Err: context.Cause(ctx)}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	if len(p.line) == 0 {
		if c := p.place(); c != nil {
			p.mu.Unlock()
			return c, nil
		}
	}
	w := &waiter{served: make(chan struct{})}
	p.line = append(p.line, w)
	p.waiting.Add(1) // before the look: a place that is free from now on stirs
	p.serve()
	p.mu.Unlock()
	select {
	case <-w.served:
		return w.conn, w.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.line, w); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
		p.waiting.Add(-1)
		w.err = &Error{Stage: Unsent, Err: context.Cause(ctx)}
	}
	p.mu.Unlock()
	return w.conn, w.err // a place that came just now is given back by roundTrip
}

// place reserves one on an open connection. The caller holds mu.
func (p *Pool) place() conn {
	for _, aged := range []bool{false, true} {
		for _, c := range p.shared {
			if c.reserve(aged) {
				p.growth.renew = p.growth.renew || aged
				return c
			}
		}
	}
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

// serve gives places to those who wait, in the order in which they came, and
// sees to it that there will be more. The caller holds mu.
func (p *Pool) serve() {
	if p.closed {
		return
	}
	for len(p.line) > 0 {
		c := p.place()
		if c == nil {
			break
		}
		p.pop(c, nil)
	}
	p.prune()
	p.grow()
}

// pop ends the wait of the first in line. The caller holds mu.
func (p *Pool) pop(c conn, err error) {
	w := p.line[0]
	p.line[0] = nil
	p.line = p.line[1:]
	p.waiting.Add(-1)
	w.conn, w.err = c, err
	close(w.served)
}

// failLine ends the wait of the first n. The caller holds mu.
func (p *Pool) failLine(n int, err error) {
	for range min(n, len(p.line)) {
		p.pop(nil, err)
	}
}

// freed is told by a connection that may have a place again. It may hold its
// own lock.
func (p *Pool) freed() {
	if p.waiting.Load() > 0 {
		p.stirred()
	}
}

func (p *Pool) stirred() {
	select {
	case p.stir <- struct{}{}:
	default:
	}
}

// keepLine moves the line when connections stir or the time has come for
// another dial.
func (p *Pool) keepLine() {
	defer p.work.Done()
	defer p.alarm.Stop()
	for {
		select {
		case <-p.stir:
		case <-p.alarm.C:
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		p.serve()
		p.mu.Unlock()
	}
}

// prune drops the HTTP/2 connections that have closed. The caller holds mu.
func (p *Pool) prune() {
	p.shared = slices.DeleteFunc(p.shared, func(c *h2Conn) bool { return c.dead() })
}
