package proxy

import (
	"slices"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/proxy/apierror"
)

// A cause is one of the ways in which an exchange can end. It is an error so
// that it can end a context; whatever else fails is mapped to one where it
// enters (causes.go), and nobody further down asks what an error is.
type cause uint8

// The causes, in the order of the table.
const (
	completed cause = iota
	clientLeft
	unforwardable
	noTunnel
	rulesBroken
	tooLarge
	malformed
	clientStalled
	clientUnread
	queueFull
	queueTimeout
	draining
	drainedUnsent
	drained
	noConnection
	noTLS
	untrusted
	noDescriptors
	connectionDead
	apiRefused
	noPlace
	headTimeout
	uploadStalled
	brokeEarly
	badAnswer
	brokeLate
	silent
	bug
	causes
)

// ErrDrained is the cause with which what is still in flight ends at the
// drain's deadline.
const ErrDrained = drained

// Error is the cause's name: what the log says of it.
func (c cause) Error() string { return table[c].name }

// row is all that follows from a cause. specs/proxy.md has the same table, and a
// test holds the two together.
type row struct {
	name string
	// status, kind, advice and message are what the client is told while no head
	// of the API's has gone out: behind one, the answer breaks. Without a kind
	// nothing is told. Messages are for a developer who may never have heard of this proxy.
	status  int
	kind    apierror.Type
	advice  apierror.Retry
	message string
	// by and in are the two words of every record; in lists where it can happen.
	outcome   Outcome
	errorType ErrorType
	by        Party
	in        []Phase
	// repeated says that the attempt may be made again, and why that is safe.
	repeated repetition
}

// repetition is how often an attempt may be made again.
type repetition struct {
	reason repeat // empty: never
	// safe restricts it to the methods that promise to change nothing.
	safe bool
	// patient goes on for a time and not for a number of attempts: the API
	// provably did not process the request.
	patient bool
}

// The advice that own errors give. A request that may have been processed gets
// none: whether to pay twice is the client's to decide.
var (
	soon  = apierror.Retry{After: 1}
	later = apierror.Retry{After: 5}
	never = apierror.Retry{Never: true}
)

const us = "The proxy in front of the Claude API "

var everywhere = Phases

var table = [causes]row{
	completed: {name: "completed", outcome: Completed, by: ByUpstream, in: []Phase{InStream}},

	clientLeft: {name: "client_left", status: statusClientGone, outcome: ClientGone, by: ByClient, in: everywhere},

	unforwardable: {name: "unforwardable", status: 400, kind: apierror.InvalidRequest,
		message: "The request target is not one that can be forwarded: send a path that begins with a slash.",
		outcome: Refused, errorType: TypeInvalidRequest, by: ByClient, in: []Phase{InAdmit}},
	noTunnel: {name: "no_tunnel", status: 400, kind: apierror.InvalidRequest,
		message: "CONNECT is not supported: this is a proxy in front of one API, not a tunnel.",
		outcome: Refused, errorType: TypeInvalidRequest, by: ByClient, in: []Phase{InAdmit}},
	rulesBroken: {name: "rules_broken", status: 400, kind: apierror.InvalidRequest,
		message: "The request breaks the rules of HTTP.", // the door says which, and the status
		outcome: Refused, errorType: TypeInvalidRequest, by: ByClient, in: []Phase{InAdmit}},
	tooLarge: {name: "too_large", status: 413, kind: apierror.TooLarge,
		message: "The request body is larger than the proxy in front of the Claude API accepts (max_body_mib).",
		outcome: Refused, errorType: TypeTooLarge, by: ByClient, in: everywhere},
	malformed: {name: "malformed", status: 400, kind: apierror.InvalidRequest,
		message: "The request body is malformed: its framing cannot be read.",
		outcome: Refused, errorType: TypeInvalidRequest, by: ByClient, in: []Phase{InUpload, InStream}},
	clientStalled: {name: "client_stalled", status: 408, kind: apierror.Timeout,
		message: "The request body stopped coming before its end.",
		outcome: IdleTimeout, errorType: TypeIdleTimeout, by: ByClient, in: []Phase{InUpload}},
	clientUnread: {name: "client_unread", outcome: IdleTimeout, errorType: TypeIdleTimeout, by: ByClient, in: []Phase{InStream}},

	queueFull: {name: "queue_full", status: 503, kind: apierror.API, advice: later,
		message: us + "serves as many requests as it may, and too many wait. The request was not processed. Try again later.",
		outcome: Refused, errorType: TypeOverloaded, by: ByProxy, in: []Phase{InAdmit}},
	queueTimeout: {name: "queue_timeout", status: 503, kind: apierror.API, advice: later,
		message: us + "serves as many requests as it may. The request was not processed. Try again later.",
		outcome: Refused, errorType: TypeOverloaded, by: ByProxy, in: []Phase{InAdmit, InUpload}},
	draining: {name: "draining", status: 503, kind: apierror.API, advice: soon,
		message: us + "is restarting. The request was not processed. Try again in a moment.",
		outcome: Refused, errorType: TypeDraining, by: ByProxy, in: []Phase{InAdmit}},
	drainedUnsent: {name: "drained_unsent", status: 503, kind: apierror.API, advice: soon,
		message: us + "had to shut down before it could send the request. The request was not processed. Try again in a moment.",
		outcome: Drained, errorType: TypeDraining, by: ByProxy, in: []Phase{InAdmit, InUpload, InWait}},
	drained: {name: "drained", status: 503, kind: apierror.API,
		message: us + "had to shut down before the API answered. The request may have been processed.",
		outcome: Drained, errorType: TypeDraining, by: ByProxy, in: []Phase{InUpload, InWait, InStream}},

	noConnection: {name: "no_connection", status: 502, kind: apierror.API,
		message: us + "could not connect to it. The request was not processed.",
		outcome: UpstreamError, errorType: TypeConnection, by: ByUpstream, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryConnect}},
	noTLS: {name: "no_tls", status: 502, kind: apierror.API,
		message: us + "could not make a secure connection to it. The request was not processed.",
		outcome: UpstreamError, errorType: TypeTLS, by: ByUpstream, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryConnect}},
	untrusted: {name: "untrusted", status: 502, kind: apierror.API, advice: never,
		message: us + "does not trust the certificate that it was shown. The request was not processed.",
		outcome: UpstreamError, errorType: TypeTLS, by: ByUpstream, in: []Phase{InUpload, InWait}},
	noDescriptors: {name: "no_descriptors", status: 503, kind: apierror.API, advice: later,
		message: us + "has no room for another connection. The request was not processed. Try again later.",
		outcome: Refused, errorType: TypeOverloaded, by: ByProxy, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryConnect}},
	connectionDead: {name: "connection_dead", status: 503, kind: apierror.API, advice: soon,
		message: "The connection to the Claude API was dead before the request was sent. The request was not processed. Try again in a moment.",
		outcome: UpstreamError, errorType: TypeConnection, by: ByUpstream, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryDead, patient: true}},
	apiRefused: {name: "api_refused", status: 503, kind: apierror.API, advice: soon,
		message: "The Claude API did not take the request. The request was not processed. Try again in a moment.",
		outcome: UpstreamError, errorType: TypeConnection, by: ByUpstream, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryRefused, patient: true}},
	noPlace: {name: "no_place", status: 503, kind: apierror.API, advice: later,
		message: "The Claude API had no place for the request in time. The request was not processed. Try again later.",
		outcome: UpstreamError, errorType: TypeTimeout, by: ByUpstream, in: []Phase{InUpload, InWait}},
	headTimeout: {name: "head_timeout", status: 504, kind: apierror.Timeout,
		message: "The Claude API did not answer the proxy in time. The request may have been processed.",
		outcome: UpstreamError, errorType: TypeTimeout, by: ByUpstream, in: []Phase{InWait}, repeated: repetition{reason: retryTimeout, safe: true}},
	uploadStalled: {name: "upload_stalled", status: 504, kind: apierror.Timeout,
		message: "The Claude API stopped reading the request. The request may have been processed.",
		outcome: UpstreamError, errorType: TypeTimeout, by: ByUpstream, in: []Phase{InUpload}},
	brokeEarly: {name: "broke_early", status: 502, kind: apierror.API,
		message: "The connection to the Claude API broke before it answered. The request may have been processed.",
		outcome: UpstreamError, errorType: TypeConnection, by: ByUpstream, in: []Phase{InUpload, InWait}, repeated: repetition{reason: retryReset, safe: true}},
	badAnswer: {name: "bad_answer", status: 502, kind: apierror.API,
		message: "The Claude API gave an answer that is none. The request may have been processed.",
		outcome: UpstreamError, errorType: TypeConnection, by: ByUpstream, in: []Phase{InUpload, InWait}},
	brokeLate: {name: "broke_late", outcome: UpstreamCut, errorType: TypeUpstreamCut, by: ByUpstream, in: []Phase{InStream}},
	silent:    {name: "silent", outcome: IdleTimeout, errorType: TypeIdleTimeout, by: ByUpstream, in: []Phase{InStream}},

	bug: {name: "bug", status: 500, kind: apierror.API, message: us + "failed.",
		outcome: UpstreamError, errorType: TypeInternal, by: ByProxy, in: everywhere},
}

// An ending is how an exchange, or a part of it, ended.
type ending struct {
	cause cause
	// detail is for the log: never a byte of what a client or the API sent.
	detail string
	// refusal is the door's own word on a request that broke the rules.
	refusal *edge.Refusal
}

// plain are the endings of which nothing more is known than their cause. Nobody
// changes them.
var plain = func() (all [causes]ending) {
	for c := range all {
		all[c].cause = cause(c)
	}
	return all
}()

// because is the ending of a cause that says it all.
func because(c cause) *ending { return &plain[c] }

func (e *ending) row() *row { return &table[e.cause] }

// answer is what the client is told while it can be.
func (e *ending) answer() apierror.Error {
	r := e.row()
	a := apierror.Error{Status: r.status, Type: r.kind, Message: r.message, Retry: r.advice}
	if e.refusal != nil {
		a.Status, a.Message = e.refusal.Status, e.refusal.Message
	}
	return a
}

// tells reports whether there is anything to say to the client.
func (e *ending) tells() bool { return e.row().kind != "" }

// unsent is the ending of an exchange of which nothing can have reached the API.
func (e *ending) unsent() *ending {
	switch e.cause {
	case drained:
		return because(drainedUnsent)
	case headTimeout, uploadStalled: // it stood in the engine's line
		return because(noPlace)
	}
	return e
}

// closes reports whether the client's connection is of no more use: what stands
// on it cannot be read, or the process goes away.
func (e *ending) closes() bool {
	switch e.cause {
	case unforwardable, noTunnel, rulesBroken, tooLarge, malformed, clientStalled, draining, drainedUnsent, drained, bug:
		return true
	}
	return false
}

// mayRepeat reports whether an attempt that ended so may be made again for a
// request with the method. One that can have reached the API is repeated only
// when its method promises that this changes nothing (RFC 9110 9.2.2), and a
// POST never: it would be billed twice.
func (e *ending) mayRepeat(method string) bool {
	r := e.row().repeated
	return r.reason != "" && (!r.safe || slices.Contains(safeMethods, method))
}

var safeMethods = []string{"GET", "HEAD"}
