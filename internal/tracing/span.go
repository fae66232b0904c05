package tracing

import (
	"encoding/hex"
	"strconv"
	"time"

	"anthropic-oauth-proxy/internal/proxy"
)

// The documents of OTLP's JSON encoding, as far as they are needed: ids in hex,
// 64-bit numbers as text, kinds and codes as numbers.
type (
	document struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID      string      `json:"traceId"`
		SpanID       string      `json:"spanId"`
		ParentSpanID string      `json:"parentSpanId,omitempty"`
		Name         string      `json:"name"`
		Kind         int         `json:"kind"`
		Start        string      `json:"startTimeUnixNano"`
		End          string      `json:"endTimeUnixNano"`
		Attributes   []attribute `json:"attributes"`
		Events       []event     `json:"events,omitempty"`
		Status       code        `json:"status"`
	}
	event struct {
		Time string `json:"timeUnixNano"`
		Name string `json:"name"`
	}
	code struct {
		Code int `json:"code,omitempty"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
	}
)

const (
	kindServer = 2 // SPAN_KIND_SERVER
	codeError  = 2 // STATUS_CODE_ERROR
)

func text(key, v string) attribute { return attribute{key, value{String: &v}} }

func number(key string, v int64) attribute {
	s := strconv.FormatInt(v, 10)
	return attribute{key, value{Int: &s}}
}

// spanOf tells a record as a span: what the access log tells, and nothing more.
func spanOf(r *proxy.Record, trace [16]byte, id [8]byte, from *parent) span {
	at := func(d time.Duration) string { return strconv.FormatInt(r.Accepted.Add(d).UnixNano(), 10) }
	s := span{
		TraceID: hex.EncodeToString(trace[:]), SpanID: hex.EncodeToString(id[:]), Name: methodOf(r.Method), Kind: kindServer,
		Start: at(0), End: at(r.Ended),
		Attributes: []attribute{
			text("http.request.method", methodOf(r.Method)), text("url.path", r.Path), number("http.response.status_code", int64(r.Status)),
			number("http.request.body.size", r.RequestBytes), number("http.response.body.size", r.ResponseBytes),
			text("proxy.request_id", r.ID), text("proxy.outcome", string(r.Outcome)), text("proxy.cause", r.Cause),
			text("proxy.ended_by", string(r.By)), text("proxy.ended_in", string(r.Phase)), number("proxy.attempts", int64(r.Attempts)),
			text("proxy.client", r.Client), text("proxy.credential", string(r.Credential)),
		},
	}
	if r.UpstreamID != "" {
		s.Attributes = append(s.Attributes, text("proxy.upstream_request_id", r.UpstreamID))
	}
	if r.ErrorType != "" {
		s.Attributes = append(s.Attributes, text("error.type", string(r.ErrorType)))
	}
	if from != nil {
		s.ParentSpanID = hex.EncodeToString(from.span[:])
	}
	for _, moment := range []struct {
		name string
		at   time.Duration
	}{{"admitted", r.Admitted}, {"sent", r.Sent}, {"head", r.Head}, {"first_byte", r.FirstByte}, {"last_byte", r.LastByte}} {
		if moment.at > 0 {
			s.Events = append(s.Events, event{at(moment.at), moment.name})
		}
	}
	if r.Outcome.Failed() || r.Status >= 500 {
		s.Status.Code = codeError
	}
	return s
}

// methodOf keeps names few, as the semantic conventions want.
func methodOf(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT":
		return method
	}
	return "_OTHER"
}
