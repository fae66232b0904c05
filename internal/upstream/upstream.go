// Package upstream moves one request to the Claude API and its answer back.
//
// It is the engine below the proxy's policy: it keeps the connections, speaks
// HTTP/1.1 and HTTP/2, and reports for every failure whether the request can
// have reached the API. It never retries, never follows a redirect, never
// looks at a proxy variable of the environment, adds no header and decides
// nothing: timeouts arrive as the end of a context.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"anthropic-oauth-proxy/internal/headers"
)

// Request is one attempt to have a request answered.
type Request struct {
	Method string
	// Target is the request target exactly as it goes on the wire: the path
	// with an optional query, or "*".
	Target string
	// Header holds the end-to-end fields. The engine reads it until RoundTrip
	// returns and changes nothing.
	Header headers.Fields
	// Body is nil for a request without content. One goroutine of the engine
	// reads it. The engine closes it, more than once perhaps, and Close must end
	// a Read that waits. Once the exchange has ended nobody reads it any more.
	Body io.ReadCloser
	// Whole says that Body holds all of its content in memory and never blocks;
	// such content of a known length goes out with the head.
	Whole bool
	// ContentLength is the length of Body, -1 when unknown.
	ContentLength int64
	// Trailer is nil when there is none. Its fields are there once Body has
	// returned io.EOF.
	Trailer *headers.Trailer
	// Interim, when not nil, is called for each 1xx answer but 101, and 100 where
	// the request expects it: its content is read then. It is called by the
	// goroutine that called RoundTrip, and the fields are its own.
	Interim func(status int, h headers.Fields)
}

func (r *Request) interim(status int, h headers.Fields) {
	if r.Interim != nil && (status != http.StatusContinue || !r.Header.Has("Expect")) {
		r.Interim(status, h)
	}
}

// atOnce reports whether the content may go out right behind the head, as it
// is: nothing has to be waited for, framed by the way or said after it.
func (r *Request) atOnce() bool {
	return r.Whole && r.ContentLength >= 0 && r.Trailer == nil && !r.Header.Has("Expect")
}

func (r *Request) trailer() headers.Fields {
	if r.Trailer == nil {
		return nil
	}
	return r.Trailer.Fields
}

// Response is the head of an answer and its body.
type Response struct {
	Status int
	// Header is the caller's to change, and has room for a field of its own.
	Header        headers.Fields
	ContentLength int64 // -1 when unknown
	// Trailer is nil when none is announced. Once Body has returned io.EOF it may
	// be there all the same, or have other fields than those.
	Trailer *headers.Trailer
	// Body is never nil. Closing it before io.EOF ends the exchange upstream at
	// once. It is not safe for concurrent use. It may have the method Ready of a
	// [Standing], and may be one.
	Body io.ReadCloser
}

// Standing is a body that needs no goroutine while it waits for the API.
type Standing interface {
	io.ReadCloser
	// Ready reports whether Read would not wait.
	Ready() bool
	// TryRead reads what has come, 0 bytes when there is nothing or the end.
	TryRead(p []byte) int
	// Wait has w hear once of the next thing that happens: content, the end, a
	// failure or Wake. It is false, and w hears nothing, when Read would not wait.
	Wait(w Waiter) bool
	// Wake has a Waiter that has not heard yet hear now. Any goroutine may call it.
	Wake()
}

// Waiter stands in a goroutine's place.
type Waiter interface {
	// News is called by the goroutine that serves the connection to the API. It
	// may use the body, but for Read and Close, and must not block.
	News()
}

// Stage says how far a failed request can have come.
type Stage int

const (
	// Unsent: not a byte of it left this process.
	Unsent Stage = iota
	// Refused: the API's own protocol says that it was not processed
	// (RFC 9113 8.7: REFUSED_STREAM, or a GOAWAY that excludes it).
	Refused
	// Sent: it may have been processed.
	Sent
)

// Error is a failed attempt.
type Error struct {
	Stage Stage
	// Dial is true when no connection could be made, TLS included. Cause says
	// why; it is empty otherwise. CauseCertificate will not heal by itself.
	Dial  bool
	Cause Cause
	// TLS is true when it was the TLS handshake that failed.
	TLS bool
	// Code is what the API said when it ended the stream, or the connection
	// before it broke; NoCode when it said nothing, or spoke HTTP/1.1.
	Code Code
	Err  error
}

func (e *Error) Error() string {
	said := ""
	if e.Code != NoCode {
		said = " (" + string(e.Code) + ")"
	}
	switch {
	case e.TLS:
		return fmt.Sprintf("verify upstream: %v", e.Err)
	case e.Dial:
		return fmt.Sprintf("connect upstream: %v", e.Err)
	case e.Stage == Refused:
		return fmt.Sprintf("send request: upstream refused it%s: %v", said, e.Err)
	case e.Stage == Unsent:
		return fmt.Sprintf("send request: %v", e.Err)
	}
	return fmt.Sprintf("read response%s: %v", said, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// ErrClosed is the cause of every failure after Close.
var ErrClosed = errors.New("upstream is closed")

// ErrNotHTTP is what a failure wraps when an answer came that is none: it breaks
// the rules of HTTP, or its head is endless.
var ErrNotHTTP = errors.New("upstream's answer is not HTTP")

var errHeadTooLarge = fmt.Errorf("%w: its head is larger than 256 KiB", ErrNotHTTP)

// maxHeadBytes bounds a response head; the API's are under 4 KiB.
const maxHeadBytes = 256 << 10

// RoundTrip sends req and returns the head of its answer. While the API allows
// no further request, it waits for a place until ctx ends. The exchange ends
// when the response's body is read to io.EOF or closed, or when ctx ends; after
// an error nothing is left of it. Errors are of type *Error; when ctx has
// ended, they wrap its cause.
func (p *Pool) RoundTrip(ctx context.Context, req *Request) (*Response, error) {
	for {
		c, err := p.acquire(ctx)
		if err != nil {
			closeBody(req)
			return nil, withCause(ctx, err)
		}
		res, err := c.roundTrip(ctx, req)
		switch {
		case err == nil:
			return res, nil
		case !errors.Is(err, errPlaceLost):
			return nil, withCause(ctx, err)
		}
	}
}

// errPlaceLost: the connection was given up between the reservation of a place
// and its use. Nothing happened to the request.
var errPlaceLost = errors.New("the connection is going away")

func closeBody(req *Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// withCause lets the reason of a cancelled context speak instead of the socket
// error that the cancellation led to.
func withCause(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	e := *asError(err)
	e.TLS, e.Err = false, context.Cause(ctx)
	return &e
}

// asError finds the *Error in err, or makes one that promises nothing.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Stage: Sent, Err: err}
}
