package proxy

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/upstream"
)

// statusClientGone is nginx's, for the records only: nobody is there to get it.
const statusClientGone = 499

// record is everything that is kept of a request: one log line and its share
// of the metrics. It holds no header value, no query and no byte of a body.
type record struct {
	id            string
	method        string
	path          string
	start         time.Time
	first         time.Time // of the first byte to the client; zero before
	status        int
	upstreamID    string
	outcome       Outcome
	errorType     ErrorType
	failure       error
	attempts      int
	queued        time.Duration
	requestBytes  int64
	responseBytes int64
	credential    Credential
	caller        Caller
}

// longestPath bounds what a log line tells of a path.
const longestPath = 256

func newRecord(r *http.Request, target string) record {
	path := pathOf(target)
	if len(path) > longestPath {
		path = path[:longestPath]
	}
	return record{
		id: newRequestID(), method: r.Method, path: path, start: time.Now(),
		credential: credentialOf(r.Header),
	}
}

// newRequestID names a request. It only has to be unique: it guards nothing.
func newRequestID() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	id := make([]byte, 4+2*len(b))
	copy(id, "req_")
	hex.Encode(id[4:], b[:])
	return string(id)
}

func (r *record) answered(res *upstream.Response) {
	r.status = res.Status
	// The id is the API's, but it goes into a log: anything else stays out.
	if id := res.Header.Get("Request-Id"); isID(id) {
		r.upstreamID = id
	}
}

func isID(s string) bool {
	const longest = 128
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= longest
}

func (r *record) firstByte() {
	if r.first.IsZero() {
		r.first = time.Now()
	}
}

// credentialOf sorts a request's credential without looking at more of it than
// its kind.
func credentialOf(h http.Header) Credential {
	if values := h["X-Api-Key"]; len(values) > 0 && !isPlaceholder(values[0]) {
		return CredentialAPIKey
	}
	values := h["Authorization"]
	if len(values) == 0 {
		if len(h["X-Api-Key"]) > 0 {
			return CredentialPlaceholder
		}
		return CredentialNone
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	switch token = strings.TrimSpace(token); {
	case !strings.EqualFold(scheme, "Bearer") && token == "" && isPlaceholder(scheme), isPlaceholder(token):
		return CredentialPlaceholder
	case strings.HasPrefix(token, "sk-ant-api"):
		return CredentialAPIKey
	}
	return CredentialOAuth
}

func isPlaceholder(token string) bool {
	switch strings.ToLower(strings.TrimSpace(token)) {
	case "", "-", "x", "none", "null", "nil", "undefined", "dummy", "placeholder", "unused", "changeme", "test":
		return true
	}
	return false
}

// record closes the books on a request.
func (h *Handler) record(r *record) {
	took := time.Since(r.start)
	if r.outcome == ClientGone {
		r.status = statusClientGone
	}
	if r.errorType == "" {
		r.errorType = errorTypeOf(r.outcome)
	}
	var ttfb time.Duration
	if !r.first.IsZero() {
		ttfb = r.first.Sub(r.start)
	}
	h.Metrics.record(sample{
		Status: r.status, Method: r.method, Outcome: r.outcome, ErrorType: r.errorType,
		Credential: r.credential, Duration: took, FirstByte: ttfb, Queued: r.queued,
		RequestBytes: r.requestBytes, ResponseBytes: r.responseBytes,
	})
	h.log(r, took, ttfb)
}

func errorTypeOf(o Outcome) ErrorType {
	switch o {
	case UpstreamCut:
		return TypeUpstreamCut
	case IdleTimeout:
		return TypeIdleTimeout
	case Drained:
		return TypeDraining
	case Refused:
		return TypeInvalidRequest
	}
	return ""
}

func (h *Handler) log(r *record, took, ttfb time.Duration) {
	e := h.Log.Info()
	if r.outcome != Completed && r.outcome != ClientGone {
		e = h.Log.Warn()
	}
	if e == nil {
		return
	}
	e.Str("event", "request").Str("request_id", r.id).Str("upstream_request_id", r.upstreamID).
		Str("method", r.method).Str("path", r.path).Int("status", r.status).
		Str("outcome", string(r.outcome)).
		Float64("ttfb_ms", milliseconds(ttfb)).Float64("duration_ms", milliseconds(took)).
		Float64("queued_ms", milliseconds(r.queued)).
		Int64("request_bytes", r.requestBytes).Int64("response_bytes", r.responseBytes).
		Int("attempts", r.attempts).Str("credential", string(r.credential))
	if r.errorType != "" {
		e.Str("error_type", string(r.errorType))
	}
	if r.failure != nil && r.outcome != ClientGone {
		e.Str("error", describe(r.failure))
	}
	if r.caller.Node != "" {
		e.Str("caller", r.caller.Node).Strs("caller_tags", r.caller.Tags)
	}
	e.Msg("request ended")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// describe is an error's text for the log. Errors of net/http's parsers quote
// what they could not read, which may be anything that the API sent; they are
// named by their kind alone.
func describe(err error) string {
	var ue *upstream.Error
	if errors.As(err, &ue) && !ue.Dial && !isNetError(err) && !endedByUs(err) &&
		!errors.Is(err, errHeaderTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return "the exchange with the API broke"
	}
	return err.Error()
}
