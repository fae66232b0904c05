package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
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

// The advice that own errors give. A request that may have been processed gets
// none: whether to pay twice is the client's to decide.
var (
	soon  = apierror.Retry{After: 1}
	later = apierror.Retry{After: 5}
	never = apierror.Retry{Never: true}
)

// judge finds the verdict on err. Its messages are for the developer at the
// other end, who may never have heard of this proxy.
func judge(err error) verdict {
	var ue *upstream.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, admission.ErrDraining):
		return verdict{apierror.Error{Status: 503, Type: apierror.API, Retry: soon, Close: true,
			Message: "The proxy in front of the Claude API is restarting. The request was not processed. Try again in a moment."}, Refused, TypeDraining}
	case errors.Is(err, ErrDrained):
		return verdict{apierror.Error{Status: 503, Type: apierror.API, Close: true,
			Message: "The proxy in front of the Claude API had to shut down before the API answered. The request may have been processed."}, Drained, TypeDraining}
	case errors.Is(err, admission.ErrQueueTimeout), errors.Is(err, admission.ErrQueueFull):
		return verdict{apierror.Error{Status: 503, Type: apierror.API, Retry: later,
			Message: "The proxy in front of the Claude API serves as many requests as it may. The request was not processed. Try again later."}, Refused, TypeOverloaded}
	case errors.Is(err, errTooLarge):
		return verdict{apierror.Error{Status: 413, Type: apierror.TooLarge, Close: true,
			Message: "The request body is larger than the proxy in front of the Claude API accepts (max_body_mib)."}, Refused, TypeTooLarge}
	case errors.Is(err, errMalformed):
		return verdict{apierror.Error{Status: 400, Type: apierror.InvalidRequest, Close: true,
			Message: "The request body is malformed: its framing cannot be read."}, Refused, TypeInvalidRequest}
	case errors.Is(err, errClientStalled):
		return verdict{apierror.Error{Status: 408, Type: apierror.Timeout, Close: true,
			Message: "The request body stopped coming before its end."}, IdleTimeout, TypeIdleTimeout}
	case errors.As(err, &certificate):
		return verdict{apierror.Error{Status: 502, Type: apierror.API, Retry: never,
			Message: "The proxy does not trust the certificate that it was shown for the Claude API."}, UpstreamError, TypeTLS}
	case errors.As(err, &ue) && ue.TLS:
		return verdict{apierror.Error{Status: 502, Type: apierror.API,
			Message: "The proxy could not make a secure connection to the Claude API."}, UpstreamError, TypeTLS}
	case errors.As(err, &ue) && ue.Dial:
		return verdict{apierror.Error{Status: 502, Type: apierror.API,
			Message: "The proxy could not connect to the Claude API."}, UpstreamError, TypeConnection}
	case errors.Is(err, errHeaderTimeout), errors.Is(err, errAPIStalled):
		return verdict{apierror.Error{Status: 504, Type: apierror.Timeout,
			Message: "The Claude API did not answer the proxy in time. The request may have been processed."}, UpstreamError, TypeTimeout}
	case errors.As(err, &ue) && ue.Stage != upstream.Sent:
		return verdict{apierror.Error{Status: 503, Type: apierror.API, Retry: soon,
			Message: "The Claude API did not take the request. The request was not processed. Try again in a moment."}, UpstreamError, TypeConnection}
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

// fail answers a request that got no answer from the API. A client that left
// hears nothing.
func (x *exchange) fail(err error) {
	x.rec.failure = err
	if x.client.Err() != nil || errors.Is(err, errClientGone) {
		x.rec.outcome, x.rec.status = ClientGone, statusClientGone
		panic(http.ErrAbortHandler)
	}
	x.refuse(judge(err))
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
