package edge

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// h1exchange is one request over HTTP/1 and its answer: a [Client].
type h1exchange struct {
	c     *h1conn
	begin *beginning // nil once it is forgotten
	body  *h1body    // nil without content, and with begin

	invited atomic.Bool // the client was told to go on, or did not ask; set under writing
	// writing is held by a write, and guards what is written.
	writing sync.Mutex
	proto   Protocol
	refused bool // the request was
	answer  answer
	unsent  []byte // what TryWrite could not send

	// mu guards what other goroutines may ask for meanwhile.
	mu       sync.Mutex
	deadline time.Time
	aborted  bool
	over     bool // the handler has returned
	heard    bool // the whole request came: the client's end is the exchange's
	h1end
}

// beginning is what an exchange needs no more once its answer has begun and its
// content was read: it is most of it, and many answers wait for long.
type beginning struct {
	req  Request
	body h1body
	head Head // of the answer
}

func (c *h1conn) newExchange(r Request) *h1exchange {
	begin := &beginning{req: r}
	x := &h1exchange{c: c, begin: begin, proto: r.Proto, refused: r.Refusal != nil}
	if r.ContentLength != 0 && r.Refusal == nil {
		x.body = &begin.body
		x.body.x, x.body.left = x, r.ContentLength
		if r.ContentLength < 0 {
			x.body.chunks = &chunked{in: &c.in, trailer: r.Trailer}
		}
		begin.req.Body = x.body
	}
	x.invited.Store(x.body == nil || !r.Header.Has("Expect"))
	return x
}

func (x *h1exchange) Request() *Request { return &x.begin.req }
func (x *h1exchange) Peer() string      { return x.c.RemoteAddr().String() }
func (x *h1exchange) HungUp() bool      { return context.Cause(x.Context()) == ErrGone || x.c.hungUp() }

const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

// invite tells a client that waits for it to send its content (RFC 9110
// 10.1.1). Behind the final head it is too late for that. No other upload waits
// here for a write to end: its client may read nothing before it has sent all.
func (x *h1exchange) invite() error {
	if x.invited.Load() {
		return nil
	}
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.answer.begun || x.invited.Swap(true) {
		return nil
	}
	return x.send([]byte(continueLine))
}

// interimTimeout is how long a client may take to read an interim answer.
const interimTimeout = time.Second

func (x *h1exchange) Interim(status int, h headers.Fields) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.proto == HTTP10 || x.answer.begun || !isInterim(status) {
		return nil
	}
	if status == http.StatusContinue {
		x.invited.Store(true)
	}
	out := outputs.Get().(*output)
	defer out.free()
	out.b = appendFields(appendStatusLine(out.b, HTTP11, status), h)
	out.b = append(out.b, '\r', '\n')
	x.limit(time.Now().Add(interimTimeout))
	err := x.send(out.b)
	if err != nil {
		x.Abort() // what came of it may be half a head
		x.End(ErrGone)
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		_ = x.c.SetWriteDeadline(x.deadline)
	}
	return nil
}

// limit bounds the writes under way without changing the deadline.
func (x *h1exchange) limit(t time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.deadline.IsZero() || t.Before(x.deadline) {
		_ = x.c.SetWriteDeadline(t)
	}
}

func (x *h1exchange) Respond(h Head) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if !x.answer.begun {
		x.begin.head = h
		x.answer = newAnswer(&x.begin.req, &x.begin.head)
	}
}

func (x *h1exchange) Write(p []byte) (int, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.settle(); err != nil {
		return 0, err
	}
	out := outputs.Get().(*output)
	defer out.free()
	x.appendHead(out)
	if !x.answer.content {
		return len(p), x.send(out.b)
	}
	if x.answer.declared && int64(len(p)) > x.answer.left {
		x.Abort()
		return 0, errLong
	}
	x.answer.left -= int64(len(p))
	if x.answer.chunked && len(p) > 0 {
		out.b = appendChunkSize(out.b, len(p))
	}
	if len(p) <= copied {
		out.b = append(out.b, p...)
		if x.answer.chunked && len(p) > 0 {
			out.b = append(out.b, '\r', '\n')
		}
		if err := x.send(out.b); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	out.parts = append(out.parts[:0], out.b, p)
	if x.answer.chunked {
		out.parts = append(out.parts, crlf)
	}
	if err := x.sendParts(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (x *h1exchange) Flush() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.answer.begun {
		return x.settle()
	}
	out := outputs.Get().(*output)
	defer out.free()
	x.appendHead(out)
	return x.send(out.b)
}

func (x *h1exchange) Finish(trailer headers.Fields) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	a := &x.answer
	if err := x.settle(); err != nil {
		return err
	}
	if a.declared && a.content && a.left != 0 {
		x.Abort()
		return errShort
	}
	out := outputs.Get().(*output)
	defer out.free()
	if !a.begun && a.chunked && len(a.head.Trailer)+len(trailer) == 0 {
		a.declare(0) // nothing came: that is a length
	}
	x.appendHead(out)
	if a.chunked {
		out.b = append(out.b, "0\r\n"...)
		out.b = appendFields(out.b, trailer)
		out.b = append(out.b, '\r', '\n')
	}
	err := x.send(out.b)
	a.finished = err == nil
	return err
}

// appendHead puts the head in front of what is written first.
func (x *h1exchange) appendHead(out *output) {
	a := &x.answer
	if a.begun {
		return
	}
	a.begun = true
	a.close = a.close || x.c.closing() || x.refused || x.body != nil && !x.body.ended()
	out.b = a.append(out.b, x.proto)
}

func (x *h1exchange) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := x.c.Conn.Conn.Write(b)
	return x.sort(err)
}

func (x *h1exchange) sendParts(out *output) error {
	buffers := net.Buffers(out.parts)
	_, err := buffers.WriteTo(x.c.Conn.Conn)
	return x.sort(err)
}

// sort maps what writing fails with.
func (x *h1exchange) sort(err error) error {
	if err == nil {
		return nil
	}
	x.mu.Lock()
	aborted := x.aborted
	x.mu.Unlock()
	return writeFailure(err, aborted, x.End)
}

func (x *h1exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return ErrClosed
	}
	x.deadline = t
	return x.c.SetWriteDeadline(t)
}

func (x *h1exchange) Abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.aborted || x.over {
		return
	}
	x.aborted = true
	if x.proto == HTTP10 {
		_ = x.c.Reset() // its end may be the connection's: a quiet one would be a lie
		return
	}
	_ = x.c.Close()
}

// end follows the handler: the answer is whole, or the connection breaks. It
// reports whether the connection may carry another exchange; if not, whether
// there is an answer that the client's last bytes must not cost it.
func (x *h1exchange) end() (next, linger bool) {
	x.mu.Lock()
	finished := x.answer.finished && !x.aborted
	x.mu.Unlock()
	if !finished {
		x.Abort()
	}
	x.mu.Lock()
	x.over = true
	if !x.deadline.IsZero() {
		_ = x.c.SetWriteDeadline(time.Time{})
	}
	x.mu.Unlock()
	x.End(context.Canceled)
	unread := x.refused
	if x.body != nil {
		x.body.leave()
		unread = !x.body.ended()
	}
	x.c.deafen()
	next = finished && !unread && !x.answer.close
	return next, finished && !next
}
