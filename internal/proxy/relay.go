package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// requestIDHeader is the one thing that is added to an answer.
const requestIDHeader = "X-Proxy-Request-Id"

// A stream that waits holds a small buffer; only one that has more to say
// borrows a large one.
const (
	smallBuffer = 1 << 10
	largeBuffer = 32 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// relay streams the answer to the client as it comes.
func (x *exchange) relay(ctx context.Context, res *upstream.Response) {
	defer res.Body.Close()
	x.body.releaseTaken() // nothing will be sent again
	x.rec.answered(res)
	x.beginAnswer()
	x.writeHead(res)
	err := x.copyBody(res)
	x.dog.stop()
	if err == nil {
		x.writeTrailers(res)
		x.rec.outcome = Completed
		x.whole = res.ContentLength >= 0
		return
	}
	x.breakOff(ctx, err)
}

func (x *exchange) writeHead(res *upstream.Response) {
	h := x.w.Header()
	headers.Response(h, res.Header)
	h[requestIDHeader] = []string{x.rec.id}
	// Present without a value: net/http then adds none of its own.
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := h[name]; !ok {
			h[name] = nil
		}
	}
	if res.ContentLength < 0 {
		delete(h, "Content-Length") // it is no length; ours must not follow it
	}
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	if x.h.Gate.Closed() || x.unread() {
		h["Connection"] = []string{"close"}
	}
	x.w.WriteHeader(res.Status)
}

// A readError is one that came from the API; any other of copyBody is the
// client's.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// copyBody moves the content. Whatever was read is on its way before the next
// read begins. A head goes ahead of content whose end nobody knows; where the
// length is known, they are about to come together.
func (x *exchange) copyBody(res *upstream.Response) error {
	if res.ContentLength < 0 && hasContent(x.r.Method, res.Status) {
		if err := x.flush(); err != nil {
			return err
		}
	}
	small := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(small)
	var large *[]byte
	defer func() {
		if large != nil {
			largeBuffers.Put(large)
		}
	}()
	buf := *small
	for {
		n, rerr := res.Body.Read(buf)
		if n > 0 {
			x.dog.touch()
			if err := x.writeChunk(buf[:n]); err != nil {
				return err
			}
		}
		if rerr == io.EOF {
			return x.flush()
		}
		if rerr != nil {
			return readError{rerr}
		}
		switch {
		case n == len(buf) && large == nil:
			large = largeBuffers.Get().(*[]byte)
			buf = *large
		case n < smallBuffer && large != nil:
			largeBuffers.Put(large)
			large, buf = nil, *small
		}
	}
}

func (x *exchange) writeChunk(p []byte) error {
	x.writes.renew()
	x.rec.firstByte()
	n, err := x.w.Write(p)
	x.rec.responseBytes += int64(n)
	if err == nil {
		err = x.rc.Flush()
	}
	x.writes.rest()
	x.dog.touch()
	return err
}

func (x *exchange) flush() error {
	x.writes.renew()
	defer x.writes.rest()
	return x.rc.Flush()
}

// hasContent tells the answers that can carry a body (RFC 9110 6.4.1).
func hasContent(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

func (x *exchange) writeTrailers(res *upstream.Response) {
	h := x.w.Header()
	announced := h["Trailer"]
	for name, values := range res.Trailer {
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// breakOff ends an answer that cannot be completed: the client's connection
// breaks, and nothing of ours is added. A clean end of half an answer would be
// a lie, and an error event would be taken for the API's word: clients ask
// again for a stream that broke, and give up on one that ended in an error.
func (x *exchange) breakOff(ctx context.Context, err error) {
	x.rec.failure = err
	x.rec.outcome = streamOutcome(ctx, x.client, err)
	panic(http.ErrAbortHandler)
}

// streamOutcome finds who ended a stream.
func streamOutcome(ctx, client context.Context, err error) Outcome {
	var read readError
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, ErrDrained):
		return Drained
	case errors.Is(cause, errTooLarge), errors.Is(cause, errMalformed):
		return Refused
	case errors.Is(cause, errIdle), errors.Is(cause, errClientStalled), errors.Is(err, os.ErrDeadlineExceeded) && !errors.As(err, &read):
		return IdleTimeout
	case client.Err() != nil, errors.Is(cause, errClientGone), !errors.As(err, &read):
		return ClientGone
	}
	return UpstreamCut
}

// writeClock is the rolling write deadline: it cuts a client that stops
// reading. Setting a deadline costs, so it is renewed when an eighth of it has
// passed. An HTTP/2 stream dies at its deadline whether somebody writes or not;
// there it only stands during a write.
type writeClock struct {
	rc        *http.ResponseController
	limit     time.Duration
	perStream bool // HTTP/2
	set       time.Time
}

func (c *writeClock) renew() {
	now := time.Now()
	if now.Sub(c.set) < c.limit/8 {
		return
	}
	c.set = now
	_ = c.rc.SetWriteDeadline(now.Add(c.limit))
}

// rest follows a write.
func (c *writeClock) rest() {
	if c.perStream {
		_ = c.rc.SetWriteDeadline(time.Time{})
		c.forget()
	}
}

// forget makes the next renewal set the deadline anew.
func (c *writeClock) forget() { c.set = time.Time{} }
