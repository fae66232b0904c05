package edge

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// overHTTP2 serves a Handler by net/http's server, whose connections speak
// HTTP/2.
type overHTTP2 struct{ h Handler }

func (o overHTTP2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := newH2Exchange(w, r)
	defer x.release()
	o.h.ServeExchange(x)
	x.end()
}

// h2exchange is one stream of net/http's server: a [Client].
type h2exchange struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	conn *Conn
	req  Request
	body *h2body // nil without content

	ctx    context.Context
	leave  context.CancelCauseFunc
	unhook func() bool
	// notAtEnd takes back what AtEnd has named; nil without.
	notAtEnd func() bool

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

func newH2Exchange(w http.ResponseWriter, r *http.Request) *h2exchange {
	x := &h2exchange{w: w, rc: http.NewResponseController(w), r: r, conn: connOf(r.Context()), req: Request{
		Method: r.Method, Target: r.RequestURI, Proto: HTTP2, Host: r.Host, Header: headers.FromHTTP(r.Header), ContentLength: r.ContentLength,
	}}
	if len(r.Trailer) > 0 {
		x.req.Trailer = &headers.Trailer{Names: slices.Collect(maps.Keys(r.Trailer))}
	}
	if misdeclares(r) {
		x.req.Refusal = wrongLength
	} else if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		x.body = &h2body{x: x}
		x.req.Body = x.body
	}
	x.ctx, x.leave = context.WithCancelCause(context.WithoutCancel(r.Context()))
	x.unhook = context.AfterFunc(r.Context(), func() { x.leave(ErrGone) })
	return x
}

// misdeclares reports whether a request names a length that is none, or not that
// of its content (RFC 9113 8.1.1): where there is content, the server sees to it
// that it has the first of them.
func misdeclares(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Content-Length"], func(line string) bool {
		n, err := strconv.ParseUint(line, 10, 63)
		return err != nil || int64(n) != r.ContentLength
	})
}

func (x *h2exchange) Request() *Request        { return &x.req }
func (x *h2exchange) Peer() string             { return x.r.RemoteAddr }
func (x *h2exchange) Context() context.Context { return x.ctx }
func (x *h2exchange) End(cause error)          { x.leave(cause) }

func (x *h2exchange) AtEnd(f func()) {
	if x.notAtEnd != nil {
		x.notAtEnd()
		x.notAtEnd = nil
	}
	if f != nil {
		x.notAtEnd = context.AfterFunc(x.ctx, f)
	}
}

func (x *h2exchange) HungUp() bool { return context.Cause(x.ctx) == ErrGone || x.conn.hungUp() }

func (x *h2exchange) Interim(status int, h headers.Fields) error {
	if x.begun || !isInterim(status) {
		return nil
	}
	own := x.w.Header()
	for _, f := range h {
		own.Add(f.Name, f.Value)
	}
	err := x.guarded(time.Now().Add(interimTimeout), func() error {
		x.w.WriteHeader(status)
		return nil
	})
	clear(own)
	return err
}

func (x *h2exchange) Respond(h Head) { x.head, x.left = h, h.ContentLength }

// begin hands the head to the server.
func (x *h2exchange) begin() {
	if x.begun {
		return
	}
	x.begun = true
	own := x.w.Header()
	for _, f := range x.head.Header {
		own.Add(f.Name, f.Value)
	}
	// Present without a value: the server then adds none of its own.
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := own[name]; !ok {
			own[name] = nil
		}
	}
	delete(own, "Content-Length")
	if declaresLength(x.head.Status, x.head.ContentLength) {
		own["Content-Length"] = []string{strconv.FormatInt(x.head.ContentLength, 10)}
	}
	for _, name := range x.head.Trailer {
		own.Add("Trailer", name)
	}
	x.w.WriteHeader(x.head.Status)
}

// Write says that p was written once it has left the server's buffer, also when
// the answer is aborted in that moment.
func (x *h2exchange) Write(p []byte) (n int, err error) {
	err = x.guarded(time.Time{}, func() error {
		x.begin()
		if hasContent(x.req.Method, x.head.Status) {
			if _, err := x.w.Write(p); err != nil {
				return err
			}
		}
		if err := x.rc.Flush(); err != nil {
			return err
		}
		n = len(p)
		return nil
	})
	x.left -= int64(n)
	return n, err
}

func (x *h2exchange) Flush() error {
	return x.guarded(time.Time{}, func() error { x.begin(); return x.rc.Flush() })
}

func (x *h2exchange) Finish(trailer headers.Fields) error {
	if x.head.ContentLength >= 0 && x.left != 0 && hasContent(x.req.Method, x.head.Status) {
		x.Abort()
		return errShort
	}
	err := x.guarded(time.Time{}, func() error {
		x.begin()
		own := x.w.Header()
		clear(own) // the head is away
		for _, f := range trailer {
			name := f.Name
			if !slices.ContainsFunc(x.head.Trailer, func(announced string) bool { return headers.Same(announced, name) }) {
				name = http.TrailerPrefix + name
			}
			own.Add(name, f.Value)
		}
		if x.head.ContentLength < 0 {
			return nil // the server ends it when the handler returns
		}
		return x.rc.Flush()
	})
	x.finished = err == nil
	return err
}

// guarded runs one write under the deadline, or under the given one. That a write
// failed because of its deadline the server does not say, but ends the request's
// context with it.
func (x *h2exchange) guarded(deadline time.Time, write func() error) error {
	x.mu.Lock()
	if x.aborted {
		x.mu.Unlock()
		return ErrClosed
	}
	x.writing = true
	if deadline.IsZero() {
		deadline = x.deadline
	}
	// An HTTP/2 stream dies at its deadline whether somebody writes or not.
	timed := !deadline.IsZero()
	if timed {
		_ = x.rc.SetWriteDeadline(deadline)
	}
	x.mu.Unlock()
	err := write()
	x.mu.Lock()
	x.writing = false
	if timed && !x.aborted {
		_ = x.rc.SetWriteDeadline(time.Time{})
	}
	aborted := x.aborted
	late := !x.deadline.IsZero() && !time.Now().Before(x.deadline)
	x.mu.Unlock()
	if err != nil && late {
		return ErrStalled
	}
	return writeFailure(err, aborted, x.leave)
}

func (x *h2exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.deadline = t
	if x.writing && !x.aborted {
		return x.rc.SetWriteDeadline(t)
	}
	return nil
}

func (x *h2exchange) Abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.writing && !x.aborted {
		_ = x.rc.SetWriteDeadline(past)
	}
	x.aborted = true
}

// end follows the handler: the answer is whole, or its stream is reset.
func (x *h2exchange) end() {
	if !x.finished {
		x.Abort()
		panic(http.ErrAbortHandler)
	}
}

func (x *h2exchange) release() {
	x.unhook()
	x.leave(context.Canceled)
}
