package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// far is a network in memory whose links have a delay and no other limit. In a
// bubble of time, what passes over it is counted in round trips.
type far struct {
	delay time.Duration // one way
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
	dials atomic.Int64
	dead  atomic.Bool // nothing is delivered any more, and nobody is told
}

func newFar(roundTrip time.Duration) *far {
	return &far{delay: roundTrip / 2, queue: make(chan net.Conn), done: make(chan struct{})}
}

func (f *far) Accept() (net.Conn, error) {
	select {
	case c := <-f.queue:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *far) Close() error   { f.once.Do(func() { close(f.done) }); return nil }
func (f *far) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }

// dial takes a round trip, as TCP does.
func (f *far) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.dials.Add(1)
	select {
	case <-time.After(2 * f.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	there, back := newLane(f), newLane(f)
	select {
	case f.queue <- &farConn{in: there, out: back, net: f}:
	case <-f.done:
		return nil, errors.New("nobody listens")
	}
	return &farConn{in: back, out: there, net: f}, nil
}

// lane is one direction of a connection.
type lane struct {
	net  *far
	mu   sync.Mutex
	news chan struct{}
	due  []parcel
	over error // what follows the parcels
	past bool  // the reader's deadline has passed
}

type parcel struct {
	at   time.Time
	data []byte // nil: the end
}

func newLane(f *far) *lane { return &lane{net: f, news: make(chan struct{}, 1)} }

func (l *lane) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *lane) put(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	if !l.net.dead.Load() {
		l.due = append(l.due, parcel{time.Now().Add(l.net.delay), append([]byte(nil), data...)})
		l.wake()
	}
	return nil
}

func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over == nil {
		l.over = net.ErrClosed
		if !l.net.dead.Load() {
			l.due = append(l.due, parcel{at: time.Now().Add(l.net.delay)})
		}
		l.wake()
	}
}

func (l *lane) read(p []byte, closed <-chan struct{}) (int, error) {
	for {
		l.mu.Lock()
		var wait <-chan time.Time
		switch {
		case l.past:
			l.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(l.due) == 0:
		case time.Now().Before(l.due[0].at):
			wait = time.After(time.Until(l.due[0].at))
		case l.due[0].data == nil:
			l.mu.Unlock()
			return 0, io.EOF
		default:
			n := copy(p, l.due[0].data)
			if l.due[0].data = l.due[0].data[n:]; len(l.due[0].data) == 0 {
				l.due = l.due[1:]
			}
			l.mu.Unlock()
			return n, nil
		}
		l.mu.Unlock()
		select {
		case <-l.news:
		case <-wait:
		case <-closed:
			return 0, net.ErrClosed
		}
	}
}

type farConn struct {
	in, out *lane
	net     *far
	mu      sync.Mutex
	closed  chan struct{}
	timer   *time.Timer
}

func (c *farConn) hangUp() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = make(chan struct{})
	}
	return c.closed
}

func (c *farConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.in.read(p, c.hangUp())
}

func (c *farConn) Write(p []byte) (int, error) {
	if err := c.out.put(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *farConn) Close() error {
	closed := c.hangUp()
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-closed:
	default:
		close(closed)
		c.out.end()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	return nil
}

func (c *farConn) LocalAddr() net.Addr              { return c.net.Addr() }
func (c *farConn) RemoteAddr() net.Addr             { return c.net.Addr() }
func (c *farConn) SetWriteDeadline(time.Time) error { return nil }
func (c *farConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }

func (c *farConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	set := func(past bool) {
		c.in.mu.Lock()
		c.in.past = past
		c.in.mu.Unlock()
		c.in.wake()
	}
	set(!t.IsZero() && !t.After(time.Now()))
	if t.After(time.Now()) {
		c.timer = time.AfterFunc(time.Until(t), func() { set(true) })
	}
	return nil
}

// farAPI serves h over TLS at the other end of f.
func farAPI(t testing.TB, f *far, config *http.HTTP2Config, h http.HandlerFunc) {
	t.Helper()
	s := &http.Server{Handler: h, HTTP2: config, TLSConfig: lent.Clone()}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.ServeTLS(f, "", "") }()
	t.Cleanup(func() { _ = s.Close(); <-served })
}

// lent is httptest's certificate, made outside of any bubble.
var lent = func() *tls.Config {
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	return &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
}()

// farPool is a pool over f.
func farPool(t testing.TB, f *far) *Pool {
	t.Helper()
	p := New(&url.URL{Scheme: "https", Host: "api.test"}, Options{Dial: f.dial, TLS: &tls.Config{InsecureSkipVerify: true}})
	t.Cleanup(p.Close)
	return p
}

// farTransport is the standard library over f.
func farTransport(t testing.TB, f *far) *http.Transport {
	t.Helper()
	tr := &http.Transport{
		DialContext: f.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
