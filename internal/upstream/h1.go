package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// h1Conn is an HTTP/1.1 connection. One request at a time owns it; while it is
// idle the pool does.
type h1Conn struct {
	pool      *Pool
	raw       net.Conn  // the socket, for the check before reuse
	stream    net.Conn  // the socket, or TLS over it
	secure    *tls.Conn // nil without TLS
	facts     connFacts
	head      headReader
	br        *bufio.Reader
	idleSince time.Time
}

// readBuffer is held by every connection over HTTP/1.1 that waits; events of a
// stream are far smaller.
const readBuffer = 4 << 10

func newH1Conn(p *Pool, l *link) *h1Conn {
	c := &h1Conn{pool: p, raw: l.raw, stream: l.stream, secure: l.secure, facts: factsOf(l)}
	c.head = headReader{from: l.stream}
	c.br = bufio.NewReaderSize(&c.head, readBuffer)
	return c
}

// close ends the socket, under TLS too: its own goodbye could wait for an API
// that reads nothing.
func (c *h1Conn) close() { _ = c.raw.Close() }

// alive reports whether an idle connection still stands: nothing may have
// arrived on it, neither bytes nor an end. TLS may have taken the end from the
// socket together with the last answer: it is asked too, without waiting.
func (c *h1Conn) alive() bool {
	if c.br.Buffered() > 0 || !quiet(c.raw) {
		return false
	}
	if c.secure == nil {
		return true
	}
	_ = c.secure.SetReadDeadline(time.Unix(1, 0))
	_, err := c.secure.Read(make([]byte, 1))
	_ = c.secure.SetReadDeadline(time.Time{})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// exchange is one request and its answer on a connection.
type exchange struct {
	conn *h1Conn
	req  *Request
	stop func() bool // takes the context's hand off the connection
	out  *upload     // nil when the request was written whole before reading
	once sync.Once   // ends the exchange
	// taken: the whole content was sent before the answer came, and granted.
	taken bool
}

func (c *h1Conn) roundTrip(ctx context.Context, req *Request) (*Response, error) {
	if ctx.Err() != nil {
		closeBody(req)
		c.pool.release(c)
		return nil, &Error{Stage: Unsent, Err: context.Cause(ctx)}
	}
	x := &exchange{conn: c, req: req}
	x.stop = context.AfterFunc(ctx, func() { _ = c.stream.SetDeadline(time.Unix(1, 0)) })
	res, stage, err := x.run()
	if err != nil {
		x.end(false)
		return nil, &Error{Stage: stage, Err: err}
	}
	return res, nil
}

func (x *exchange) run() (*Response, Stage, error) {
	n, err := x.send()
	if err != nil && n == 0 {
		return nil, Unsent, err
	}
	// After a partial write the answer may have come already: an API that
	// refuses a request early closes the connection under the rest of it.
	res, readErr := x.answer()
	if readErr != nil {
		if err == nil {
			err = readErr
		}
		return nil, Sent, err
	}
	return res, Sent, nil
}

// send writes the request. A body in memory goes out here and now, any other
// from a goroutine of its own while the answer is awaited.
func (x *exchange) send() (written int, err error) {
	head := headBuffers.get()
	defer head.free()
	b := appendHead(head.b[:0], x.conn.pool.target.Host, x.req)
	if x.req.Body == nil {
		return x.conn.stream.Write(b)
	}
	if x.req.atOnce() && x.req.ContentLength <= inlineBody {
		return x.sendInline(b)
	}
	n, err := x.conn.stream.Write(b)
	if err != nil {
		closeBody(x.req)
		return n, err
	}
	x.out = startUpload(h1Sink(x.conn.stream, x.req), x.req)
	return n, nil
}

// inlineBody is what surely fits into the socket's buffer, so that writing it
// before reading cannot block for ever on an API that reads nothing.
const inlineBody = 32 << 10

func (x *exchange) sendInline(head []byte) (int, error) {
	defer closeBody(x.req)
	for {
		head = slices.Grow(head, 1)
		n, err := x.req.Body.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err == io.EOF {
			return x.conn.stream.Write(head)
		}
		if err != nil {
			return 0, err
		}
	}
}

var (
	errNoAnswer  = errors.New("upstream closed the connection before it answered")
	errSwitched  = fmt.Errorf("%w: it switched protocols unasked", ErrNotHTTP)
	errNoStatus  = fmt.Errorf("%w: its status is none", ErrNotHTTP)
	errBadField  = fmt.Errorf("%w: a field's name is none", ErrNotHTTP)
	errOldCoding = fmt.Errorf("%w: HTTP/1.0 with a transfer coding", ErrNotHTTP)
)

// answer reads heads until the final one.
func (x *exchange) answer() (*Response, error) {
	c := x.conn
	for {
		c.head.begin()
		res, err := http.ReadResponse(c.br, &http.Request{Method: x.req.Method})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errNoAnswer
		}
		if err != nil {
			return nil, c.head.blame(err)
		}
		if err := c.head.truthful(res); err != nil {
			return nil, err
		}
		switch {
		case res.StatusCode < 100:
			return nil, errNoStatus
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode < 200:
			if res.StatusCode == http.StatusContinue {
				x.out.goOn()
			}
			x.req.interim(res.StatusCode, headers.FromHTTP(res.Header))
		default:
			c.head.end()
			if res.StatusCode < 300 {
				x.out.goOn() // a refusal does not want the content that it was asked about
				x.taken = x.out.atEnd()
			}
			return x.response(res), nil
		}
	}
}

func (x *exchange) response(res *http.Response) *Response {
	if len(res.TransferEncoding) > 0 {
		res.ContentLength = -1
	}
	out := &Response{
		Status: res.StatusCode, Header: headers.FromHTTP(res.Header), ContentLength: res.ContentLength,
		Trailer: headers.Announced(slices.Collect(maps.Keys(res.Trailer))),
	}
	if res.StatusCode == http.StatusNotModified {
		named, _ := declared(out.Header) // net/http has judged it, and says 0
		out.ContentLength = max(named, 0)
	}
	b := &h1Body{x: x, res: res, out: out}
	out.Body = b
	if res.Body == http.NoBody {
		b.finish(io.EOF)
	}
	return out
}

// longUpload is what an API may leave unread and still keep its connection.
// One that refuses a request without having read more than that closes it, some
// without a word in their answer, and the next request would run into the end.
// Who grants one that was sent to its end has read it.
const longUpload = 256 << 10

// end gives the connection back or closes it, and waits for the upload: when
// it returns, nobody reads the request's body any more.
func (x *exchange) end(clean bool) {
	x.once.Do(func() {
		most := int64(longUpload)
		if x.taken {
			most = unlimited
		}
		reusable := x.stop() && clean && x.out.sentWithin(most) && x.conn.br.Buffered() == 0
		if reusable {
			x.conn.pool.release(x.conn)
			return
		}
		x.conn.pool.discard(x.conn)
		x.out.abandon()
	})
}

// h1Body reads the answer's content and ends the exchange with it.
type h1Body struct {
	x    *exchange
	res  *http.Response
	out  *Response
	done error // what every further Read says
}

func (b *h1Body) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	n, err := b.res.Body.Read(p)
	if err == io.EOF && !wellNamed(b.res.Trailer) {
		err = errBadField
	}
	if err != nil {
		b.finish(err)
	}
	return n, err
}

// Ready reports whether Read would not wait. What stands in the buffer of a
// chunked answer may be half of a chunk's head, behind which nothing has come.
func (b *h1Body) Ready() bool {
	return b.done != nil || b.out.ContentLength > 0 && b.x.conn.br.Buffered() > 0
}

func (b *h1Body) finish(err error) {
	b.done = err
	if err == io.EOF && len(b.res.Trailer) > 0 {
		b.out.Trailer = b.out.Trailer.With(headers.FromHTTP(b.res.Trailer))
	}
	b.x.end(err == io.EOF && !b.res.Close)
}

var errBodyClosed = errors.New("read response: body is closed")

// Close must not go through net/http's own, which reads a body to its end.
func (b *h1Body) Close() error {
	if b.done == nil {
		b.done = errBodyClosed
		b.x.end(false)
	}
	return nil
}
