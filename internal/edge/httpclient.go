package edge

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// overHTTP serves a Handler by net/http's server: HTTP/2 in the product, and
// HTTP/1 too in the tests that hold our own server against it.
type overHTTP struct{ h Handler }

func (a overHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newHTTPClient(w, r)
	defer c.release()
	a.h.ServeExchange(c)
	c.end()
}

// httpClient is a Client over net/http's server.
type httpClient struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	conn *Conn
	req  Request
	body *httpBody // nil without content

	ctx    context.Context
	leave  context.CancelCauseFunc
	unhook func() bool

	head     Head
	begun    bool  // the head went out
	left     int64 // of the declared length
	finished bool

	// mu guards what SetWriteDeadline and Abort share with a write.
	mu       sync.Mutex
	deadline time.Time
	writing  bool
	aborted  bool
}

func newHTTPClient(w http.ResponseWriter, r *http.Request) *httpClient {
	c := &httpClient{w: w, rc: http.NewResponseController(w), r: r, conn: connOf(r.Context()), req: Request{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header,
		ContentLength: r.ContentLength, Trailer: r.Trailer,
	}}
	c.req.Proto = protocolOf(r)
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		c.body = &httpBody{c: c}
		c.req.Body = c.body
	}
	c.ctx, c.leave = context.WithCancelCause(context.WithoutCancel(r.Context()))
	c.unhook = context.AfterFunc(r.Context(), func() {
		// When we end a read of an HTTP/1 connection, the server believes that
		// the client left; from then on only a failed write tells.
		if c.body == nil || !c.body.wasCut() {
			c.leave(ErrGone)
		}
	})
	return c
}

func protocolOf(r *http.Request) Protocol {
	switch {
	case r.ProtoMajor == 2:
		return HTTP2
	case r.ProtoAtLeast(1, 1):
		return HTTP11
	}
	return HTTP10
}

func (c *httpClient) Request() *Request        { return &c.req }
func (c *httpClient) Peer() string             { return c.r.RemoteAddr }
func (c *httpClient) Context() context.Context { return c.ctx }

func (c *httpClient) HungUp() bool {
	return c.ctx.Err() != nil || c.conn != nil && c.conn.hungUp()
}

func (c *httpClient) Interim(status int, h http.Header) error {
	if c.req.Proto == HTTP10 || c.begun || status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		return nil
	}
	own := c.w.Header()
	for name, values := range h {
		own[name] = values
	}
	err := c.guarded(time.Now().Add(interimTimeout), func() error {
		c.w.WriteHeader(status)
		return nil
	})
	clear(own)
	return err
}

func (c *httpClient) Respond(h Head) { c.head, c.left = h, h.ContentLength }

// begin hands the head to the server.
func (c *httpClient) begin() {
	if c.begun {
		return
	}
	c.begun = true
	own := c.w.Header()
	for name, values := range c.head.Header {
		own[name] = values
	}
	// Present without a value: the server then adds none of its own.
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := own[name]; !ok {
			own[name] = nil
		}
	}
	delete(own, "Content-Length")
	if declaresLength(c.head.Status, c.head.ContentLength) {
		own["Content-Length"] = []string{strconv.FormatInt(c.head.ContentLength, 10)}
	}
	for name := range c.head.Trailer {
		own.Add("Trailer", name)
	}
	if c.req.Proto != HTTP2 {
		if c.unread() {
			// Without it the server closes the body under an upload as soon as
			// an early answer begins (golang/go#40747).
			_ = c.rc.EnableFullDuplex()
		}
		if c.head.Close || c.unread() {
			own["Connection"] = []string{"close"}
		}
	}
	c.w.WriteHeader(c.head.Status)
}

// unread reports whether the rest of the request stands between it and the
// next one on the connection.
func (c *httpClient) unread() bool { return c.body != nil && !c.body.ended() }

func (c *httpClient) Write(p []byte) (int, error) {
	var n int
	err := c.guarded(time.Time{}, func() (err error) {
		c.begin()
		if !hasContent(c.req.Method, c.head.Status) {
			n = len(p)
			return c.rc.Flush()
		}
		if n, err = c.w.Write(p); err == nil {
			err = c.rc.Flush()
		}
		return err
	})
	c.left -= int64(n)
	return n, err
}

func (c *httpClient) Flush() error {
	return c.guarded(time.Time{}, func() error { c.begin(); return c.rc.Flush() })
}

func (c *httpClient) Finish(trailer http.Header) error {
	if c.head.ContentLength >= 0 && c.left != 0 && hasContent(c.req.Method, c.head.Status) {
		c.Abort()
		return errShort
	}
	err := c.guarded(time.Time{}, func() error {
		c.begin()
		own := c.w.Header()
		for name, values := range trailer {
			if _, announced := c.head.Trailer[name]; !announced {
				name = http.TrailerPrefix + name
			}
			own[name] = values
		}
		if c.head.ContentLength < 0 {
			return nil // the server ends it when the handler returns
		}
		return c.rc.Flush()
	})
	c.finished = err == nil
	return err
}

// guarded runs one write under the deadline, or under the given one.
func (c *httpClient) guarded(deadline time.Time, write func() error) error {
	c.mu.Lock()
	if c.aborted {
		c.mu.Unlock()
		return ErrClosed
	}
	c.writing = true
	if deadline.IsZero() {
		deadline = c.deadline
	}
	// An HTTP/2 stream dies at its deadline whether somebody writes or not.
	timed := !deadline.IsZero()
	if timed {
		_ = c.rc.SetWriteDeadline(deadline)
	}
	c.mu.Unlock()
	err := write()
	c.mu.Lock()
	c.writing = false
	if timed && !c.aborted {
		_ = c.rc.SetWriteDeadline(time.Time{})
	}
	aborted := c.aborted
	c.mu.Unlock()
	switch {
	case aborted:
		return ErrClosed
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	}
	c.leave(ErrGone)
	return ErrGone
}

func (c *httpClient) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.writing && !c.aborted {
		return c.rc.SetWriteDeadline(t)
	}
	return nil
}

func (c *httpClient) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		return
	}
	c.aborted = true
	switch {
	case c.req.Proto == HTTP2 || c.conn == nil:
		if c.writing {
			_ = c.rc.SetWriteDeadline(past)
		}
	case c.closeDelimited():
		_ = c.conn.Reset()
	default:
		_ = c.conn.Close()
	}
}

// closeDelimited reports whether the end of the connection is the end of the
// answer, so that a quiet close would be a lie.
func (c *httpClient) closeDelimited() bool {
	return c.req.Proto == HTTP10 && c.head.ContentLength < 0
}

// end follows the handler.
func (c *httpClient) end() {
	if !c.finished {
		c.Abort()
		panic(http.ErrAbortHandler)
	}
	if c.req.Proto != HTTP2 && c.unread() {
		c.leaveUpload()
	}
}

func (c *httpClient) release() {
	c.unhook()
	c.leave(context.Canceled)
}
