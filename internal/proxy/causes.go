package proxy

import (
	"context"
	"errors"
	"net"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/upstream"
)

// Errors enter by four doors: the gate, the client, the engine, and contexts
// that somebody ended. Each is mapped to its cause here and nowhere else.

// ended is the cause for which a context of an exchange has ended, ok false while
// it has not. Who ends one says why with a cause; the client's side does with
// its own errors, and a server that closes with none: the client is gone then.
func ended(ctx context.Context) (why cause, ok bool) {
	err := context.Cause(ctx)
	if err == nil {
		return 0, false
	}
	if errors.As(err, &why) {
		return why, true
	}
	return clientLeft, true
}

// fromGate maps what the gate refuses with.
func fromGate(err error) cause {
	var own cause
	switch {
	case errors.Is(err, admission.ErrDraining):
		return draining
	case errors.Is(err, admission.ErrQueueFull):
		return queueFull
	case errors.Is(err, admission.ErrQueueTimeout):
		return queueTimeout
	case errors.As(err, &own): // it ended while it waited
		return own
	}
	return clientLeft
}

// fromBody maps what reading a request's body fails with.
func fromBody(err error) cause {
	var own cause
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, edge.ErrMalformed):
		return malformed
	case errors.Is(err, edge.ErrStalled):
		return clientStalled
	}
	return clientLeft
}

// fromWrite maps what writing to a client fails with.
func fromWrite(err error) cause {
	if errors.Is(err, edge.ErrStalled) {
		return clientUnread
	}
	return clientLeft
}

// fromUpstream maps a failed attempt.
func fromUpstream(err error) *ending {
	var own cause
	if errors.As(err, &own) {
		return because(own)
	}
	if errors.Is(err, edge.ErrGone) {
		return because(clientLeft)
	}
	e := &ending{cause: brokeEarly, detail: describe(err)}
	var failed *upstream.Error
	switch {
	case !errors.As(err, &failed):
	case failed.Cause == upstream.CauseCertificate:
		e.cause = untrusted
	case failed.Cause == upstream.CauseDescriptors:
		e.cause = noDescriptors
	case failed.TLS, failed.Cause == upstream.CauseTLS:
		e.cause = noTLS
	case failed.Dial:
		e.cause = noConnection
	case errors.Is(err, upstream.ErrNotHTTP):
		e.cause = badAnswer
	case failed.Stage == upstream.Unsent:
		e.cause = connectionDead
	case failed.Stage == upstream.Refused:
		e.cause = apiRefused
	}
	return e
}

// mayHaveReached reports whether a failed attempt can have been processed.
func mayHaveReached(err error) bool {
	var failed *upstream.Error
	return !errors.As(err, &failed) || failed.Stage == upstream.Sent
}

// describe is an engine's error as the log may tell it. Errors of parsers quote
// what they could not read, which may be anything that the API sent; they are
// named by their kind alone.
func describe(err error) string {
	var failed *upstream.Error
	var network net.Error
	if errors.As(err, &failed) && (failed.Dial || failed.TLS) || errors.As(err, &network) || errors.Is(err, net.ErrClosed) {
		return err.Error()
	}
	if errors.Is(err, upstream.ErrNotHTTP) {
		return "the API's answer is not HTTP"
	}
	if failed != nil && failed.Code != upstream.NoCode {
		return "the API ended the exchange (" + string(failed.Code) + ")"
	}
	return "the exchange with the API broke"
}
