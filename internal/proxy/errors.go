package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/proxy/apierror"
	"anthropic-oauth-proxy/internal/upstream"
)

// The reasons for which this side ends an exchange.
var (
	// ErrDrained ends what is still in flight at the drain's deadline.
	ErrDrained = errors.New("the proxy is shutting down")

	errHeaderTimeout = errors.New("the API did not answer in time")
	errIdle          = errors.New("the answer stood still for too long")
	errBadStatus     = errors.New("the API answered with a status that is none")
)

// endedByUs reports whether err is our own decision and not a fault of the
// path: nothing is repeated then, except what ran into a timeout.
func endedByUs(err error) bool {
	for _, own := range []error{ErrDrained, errIdle, errClientGone, errClientStalled, errAPIStalled, errTooLarge, errMalformed, errBadStatus, context.Canceled} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// verdict is what a failure before the answer's head means for the client and
// for the records.
type verdict struct {
	answer    apierror.Error
	outcome   Outcome
	errorType ErrorType
}

const (
	restartPause  = 1 // seconds: another pod, or the next one, is up soon
	overloadPause = 5
)

// judge finds the verdict on err. Its messages are for the developer at the
// other end, who may never have heard of this proxy.
func judge(err error) verdict {
	var ue *upstream.Error
	switch {
	case errors.Is(err, admission.ErrDraining), errors.Is(err, ErrDrained):
		return verdict{apierror.Error{Status: 503, Type: apierror.Overloaded, RetryAfter: restartPause, Close: true,
			Message: "The proxy in front of the Claude API is restarting. Try again in a moment."}, Refused, TypeDraining}
	case errors.Is(err, admission.ErrQueueTimeout), errors.Is(err, admission.ErrQueueFull):
		return verdict{apierror.Error{Status: 503, Type: apierror.Overloaded, RetryAfter: overloadPause,
			Message: "The proxy in front of the Claude API serves as many requests as it may. Try again later."}, Refused, TypeOverloaded}
	case errors.Is(err, errTooLarge):
		return verdict{apierror.Error{Status: 413, Type: apierror.TooLarge, Close: true,
			Message: "The request body is larger than the proxy in front of the Claude API accepts (max_body_mib)."}, Refused, TypeTooLarge}
	case errors.Is(err, errMalformed):
		return verdict{apierror.Error{Status: 400, Type: apierror.InvalidRequest, Close: true,
			Message: "The request body is malformed: its framing cannot be read."}, Refused, TypeInvalidRequest}
	case errors.Is(err, errClientStalled):
		return verdict{apierror.Error{Status: 408, Type: apierror.Timeout, Close: true,
			Message: "The request body stopped coming before its end."}, IdleTimeout, TypeIdleTimeout}
	case errors.Is(err, errHeaderTimeout), errors.Is(err, errAPIStalled), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return verdict{apierror.Error{Status: 504, Type: apierror.Timeout,
			Message: "The Claude API did not answer the proxy in time."}, UpstreamError, TypeTimeout}
	case errors.As(err, &ue) && ue.TLS:
		return verdict{apierror.Error{Status: 502, Type: apierror.API,
			Message: "The proxy could not make a secure connection to the Claude API."}, UpstreamError, TypeTLS}
	case errors.As(err, &ue) && ue.Dial:
		return verdict{apierror.Error{Status: 502, Type: apierror.API,
			Message: "The proxy could not connect to the Claude API."}, UpstreamError, TypeConnection}
	}
	return verdict{apierror.Error{Status: 502, Type: apierror.API,
		Message: "The connection to the Claude API broke before it answered. The request may have been processed."}, UpstreamError, TypeConnection}
}

func badTarget(method string) verdict {
	v := verdict{apierror.Error{Status: 400, Type: apierror.InvalidRequest, Close: true,
		Message: "The request target is not one that can be forwarded: send a path that begins with a slash."}, Refused, TypeInvalidRequest}
	if method == http.MethodConnect {
		v.answer.Message = "CONNECT is not supported: this is a proxy in front of one API, not a tunnel."
	}
	return v
}

// twoLengths refuses what may be read in two ways (RFC 9112 6.1).
var twoLengths = verdict{apierror.Error{Status: 400, Type: apierror.InvalidRequest, Close: true,
	Message: "The request has both Transfer-Encoding and Content-Length, or was sent before the answer to the one before it."}, Refused, TypeInvalidRequest}

// brokenStream is what a client hears of a stream that ends too early.
func brokenStream(o Outcome) apierror.Error {
	switch o {
	case Drained:
		return apierror.Error{Type: apierror.Overloaded, Message: "The proxy in front of the Claude API is shutting down and had to end this stream."}
	case IdleTimeout:
		return apierror.Error{Type: apierror.Timeout, Message: "The Claude API sent nothing for too long, so the proxy ended this stream."}
	}
	return apierror.Error{Type: apierror.API, Message: "The connection to the Claude API broke in the middle of this stream."}
}

// fail answers a request that got no answer from the API. A client that left
// hears nothing.
func (x *exchange) fail(err error) {
	x.rec.failure = err
	if x.client.Err() != nil || errors.Is(err, errClientGone) {
		x.rec.outcome, x.rec.status = ClientGone, statusClientGone
		panic(http.ErrAbortHandler)
	}
	v := judge(err)
	if errors.Is(err, ErrDrained) {
		v.outcome = Drained
	}
	x.refuse(v)
}

func (x *exchange) refuse(v verdict) {
	x.rec.outcome, x.rec.status, x.rec.errorType = v.outcome, v.answer.Status, v.errorType
	if x.unread() {
		_ = x.rc.EnableFullDuplex()
		v.answer.Close = true
	}
	x.writes.forget()
	x.writes.renew()
	if v.answer.Close {
		x.w.Header()["Connection"] = []string{"close"}
	}
	x.w.Header()[requestIDHeader] = []string{x.rec.id}
	x.rec.firstByte()
	x.rec.responseBytes = int64(v.answer.Write(x.w, x.rec.id))
	x.whole = x.rc.Flush() == nil
}

// unread reports whether the rest of a request body stands between this
// request and the next on an HTTP/1.1 connection.
func (x *exchange) unread() bool {
	return x.r.ProtoMajor == 1 && x.r.Body != nil && x.r.Body != http.NoBody && !x.body.readToEnd()
}

// leaveUpload deals with an upload that an answer left behind. Its connection
// is of no more use: net/http would take the rest for the next request. As for
// a body over a limit of its own, it closes the connection slowly then.
func (x *exchange) leaveUpload(abort bool) {
	if abort || !x.unread() {
		return
	}
	if x.whole {
		x.linger()
	}
	_ = x.rc.SetReadDeadline(time.Unix(1, 0))
	one := io.NopCloser(strings.NewReader("1"))
	_, _ = http.MaxBytesReader(x.w, one, 0).Read(make([]byte, 1))
}

const (
	lingerTime  = 3 * time.Second
	lingerBytes = 64 << 20
)

// linger reads on for a while: a connection that is closed under an upload is
// reset, and the answer may be lost with it. Who waits for 100 (Continue) has
// sent nothing yet, and will not now.
func (x *exchange) linger() {
	if len(x.r.Header["Expect"]) > 0 && x.sent.Load() == 0 {
		return
	}
	_ = x.rc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, x.r.Body, lingerBytes)
}

// failInternally is for a bug in this package. It says where, never what with:
// a panic's value may hold anything. It reports whether the connection must be
// broken because an answer had begun.
func (x *exchange) failInternally(bug any) (abort bool) {
	x.h.Log.Error().Str("event", "panic").Str("request_id", x.rec.id).Type("type", bug).
		Bytes("stack", debug.Stack()).Msg("bug in the data plane; the request was ended")
	begun := x.rec.status != 0
	x.rec.outcome, x.rec.errorType = UpstreamError, TypeInternal
	if begun {
		return true
	}
	x.refuse(verdict{apierror.Error{Status: 500, Type: apierror.API, Close: true,
		Message: "The proxy in front of the Claude API failed."}, UpstreamError, TypeInternal})
	return false
}
