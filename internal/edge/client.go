// Package edge is the door: the one room that knows how clients arrive.
//
// It hands each request to a [Handler] as a [Client], whatever protocol
// carried it. It decides nothing about the request: what is forwarded, for how
// long and with what answer is the policy's business.
package edge

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// Protocol is the version of HTTP that a request came by.
type Protocol uint8

// The protocols, in the order of their age.
const (
	HTTP10 Protocol = iota
	HTTP11
	HTTP2
)

// The ways in which a client's side fails. Every error of a [Client] and its
// body wraps one of them.
var (
	// ErrGone: the client has left, or its connection broke.
	ErrGone = errors.New("the client left")
	// ErrMalformed: the framing of the body cannot be read.
	ErrMalformed = errors.New("the request body is malformed")
	// ErrClosed: our own Close or Abort ended it.
	ErrClosed = errors.New("the client's side was closed by us")
	// ErrStalled: a deadline of ours passed while the client did not move.
	ErrStalled = errors.New("the client stopped moving")
)

// writeFailure maps what a write ended with, and tells leave of a client that
// has left.
func writeFailure(err error, aborted bool, leave func(cause error)) error {
	switch {
	case aborted:
		return ErrClosed
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	}
	leave(ErrGone)
	return ErrGone
}

// Request is a request's head as it arrived.
type Request struct {
	// Method does not keep the rest of the head in memory; the other strings do.
	Method string
	// Target is the request target, byte for byte.
	Target string
	Proto  Protocol
	Host   string
	// Header has no Host. It is the handler's to change.
	Header headers.Fields
	// ContentLength is the length of Body, 0 without one, -1 when unknown.
	ContentLength int64
	// Trailer is nil when none is announced, and has no other field than that
	// was. Its fields are there once Body has returned io.EOF.
	Trailer *headers.Trailer
	// Body is nil without content.
	Body Body
	// Refusal, when not nil, says that the head breaks the rules of HTTP. The
	// handler answers it with an error, before it looks at anything else of the
	// request, which may be empty; the connection closes behind the answer.
	Refusal *Refusal

	last bool // of an HTTP/1 connection
}

// Body is a request's content as it arrives. One goroutine at a time reads it.
type Body interface {
	io.Reader
	// Close ends a Read that waits, and every later one, with [ErrClosed]. Any
	// goroutine may call it, more than once. After io.EOF it does nothing.
	Close() error
}

// Head is the head of an answer.
type Head struct {
	Status int
	// Header has the end-to-end fields. Nothing is added to them but the framing
	// of the client's own protocol, and a Content-Length among them does not
	// count.
	Header headers.Fields
	// ContentLength is the length of the content, -1 when unknown.
	ContentLength int64
	// Trailer names the fields that may follow the content.
	Trailer []string
	// Close asks for the connection to be closed after the answer. It does
	// nothing over HTTP/2, where a connection is shared.
	Close bool
}

// Client is the client's side of one exchange. It belongs to the goroutine
// that serves the exchange, but for the methods that say otherwise.
type Client interface {
	Request() *Request
	// Peer is the connection's remote address, an "ip:port".
	Peer() string
	// Context carries the connection's values. It ends, with the cause
	// [ErrGone], as soon as the client is known to have left.
	Context() context.Context
	// End ends Context with a cause, unless it has ended already. Any goroutine may
	// call it.
	End(cause error)
	// AtEnd has f called once Context has ended, on a goroutine of its own, in place
	// of the one named before; nil names none. A call that has begun is not waited
	// for.
	AtEnd(f func())
	// HungUp reports whether the client has closed its side, however much of
	// its request stands unread before that end.
	HungUp() bool
	// Interim sends a 1xx answer, to who can take one: not to HTTP/1.0, not 101,
	// and not behind the final head. A client that does not take it within a
	// second is cut.
	Interim(status int, h headers.Fields) error
	// Respond sets the head of the answer. It goes out with the first bytes of
	// the content or by itself with Flush, in one write.
	Respond(Head)
	// Write sends content, and what waits to be sent before it, at once.
	Write(p []byte) (int, error)
	// Flush sends what waits to be sent.
	Flush() error
	// Finish ends a complete answer, with its trailers. An exchange whose
	// handler returns without it is aborted. What is left of the request's body
	// is never taken for the next request: its connection closes, slowly, so
	// that the answer is not lost in a reset.
	Finish(trailer headers.Fields) error
	// SetWriteDeadline bounds every write from now on. Any goroutine may call
	// it; a time in the past ends a write that waits, with [ErrStalled].
	SetWriteDeadline(t time.Time) error
	// Abort breaks the answer so that no client can take it for whole: HTTP/2
	// resets the stream, HTTP/1.1 closes the connection before the end of the
	// framing, and resets it where its close would be that end. Any goroutine
	// may call it; it ends a write that waits with [ErrClosed].
	Abort()
}

// Parkable is a client whose exchange can go on without a goroutine, while the
// content of its answer is waited for.
type Parkable interface {
	Client
	// Park prepares for that, behind the head of the answer: the request's own head
	// is forgotten, and so are the write deadline and the channel by which Context
	// was waited for, so that nobody may still wait. It is false when the client
	// cannot do without a goroutine.
	Park() bool
	// TryWrite is a Write that does not wait. n bytes of the content have gone; what
	// the client did not take goes out with the next Flush, Write or Finish, and
	// until then all further ones are refused.
	TryWrite(p []byte) (n int, all bool)
	// Resume has goOn continue the exchange in ServeExchange's place, and on the
	// same terms, on a goroutine of its own. Any goroutine may call it, once for
	// each time that the exchange was left parked, and before it was.
	Resume(goOn func() (over bool))
}

// Handler serves exchanges.
type Handler interface {
	// ServeExchange serves one exchange from its head to its end. It is over when
	// it returns true; false leaves a [Parkable] client parked, and somebody who
	// will call its Resume. The client is not used behind either return.
	ServeExchange(Client) (over bool)
}
