package sim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An exchange is one request and its answer.
type exchange struct {
	api  *API
	plan Plan
	rec  *Request
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	id   uint64
}

// run answers the request. It leaves the record's Outcome empty when the
// client left, and panics with ErrAbortHandler where the plan says to cut.
func (x *exchange) run() {
	if x.plan.Early {
		// HTTP/2 is always full duplex and says so with an error.
		_ = x.rc.EnableFullDuplex()
	} else if x.rec.readBody(x.r.Body) != nil {
		return
	}
	if x.plan.Hang {
		<-x.r.Context().Done()
		return
	}
	if x.plan.CutHead {
		x.rec.Outcome = Cut
		panic(http.ErrAbortHandler)
	}
	x.headers()
	switch {
	case x.plan.Status >= 400:
		x.fail(x.plan.Status, "")
	case x.plan.Body != "":
		x.write(x.plan.Body)
	case x.plan.Stream || bytes.Contains(x.rec.Body, []byte(`"stream":true`)):
		x.stream()
	default:
		x.json()
	}
	if x.plan.Early && x.r.ProtoMajor == 1 && x.rec.readBody(x.r.Body) != nil {
		x.rec.Outcome = Cancelled
	}
}

// headers sets what every answer has, and sends the 103 if there is one.
func (x *exchange) headers() {
	h := x.w.Header()
	h.Set("Request-Id", fmt.Sprintf("req_sim%024d", x.id))
	h.Set("Anthropic-Organization-Id", "11111111-2222-3333-4444-555555555555")
	h.Set("Anthropic-Ratelimit-Requests-Limit", "4000")
	h.Set("Anthropic-Ratelimit-Requests-Remaining", "3999")
	h.Set("Anthropic-Ratelimit-Unified-Status", "allowed")
	if x.plan.Hints {
		h.Set("Link", "</style.css>; rel=preload")
		x.w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
	}
	for _, line := range x.plan.Header {
		name, value, _ := strings.Cut(line, ":")
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if x.plan.NoType {
		h["Content-Type"] = nil
	}
	if x.plan.Trailer {
		h.Set("Trailer", "X-Sim-Trailer")
	}
}

func (x *exchange) setType(t string) {
	if h := x.w.Header(); !x.plan.NoType && h.Get("Content-Type") == "" {
		h.Set("Content-Type", t)
	}
}

// write sends a whole body at once. A status that allows none goes alone.
func (x *exchange) write(body string) {
	if x.plan.Status == http.StatusNoContent {
		x.w.WriteHeader(x.plan.Status)
		x.finish()
		return
	}
	x.setType("application/json")
	if !x.plan.Trailer {
		x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if x.plan.Status != 0 {
		x.w.WriteHeader(x.plan.Status)
	}
	if _, err := io.WriteString(x.w, body); err != nil {
		return
	}
	x.finish()
}

// finish marks a whole answer. Its last bytes leave when the handler returns.
func (x *exchange) finish() {
	if x.plan.Trailer {
		x.w.Header().Set("X-Sim-Trailer", "present")
	}
	x.rec.Outcome = Completed
}

var errorTypes = map[int]string{
	400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
	413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}

// fail sends the plan's error body, or one in the API's envelope.
func (x *exchange) fail(status int, message string) {
	x.plan.Status = status
	body := x.plan.Body
	if body == "" {
		kind := errorTypes[status]
		if kind == "" {
			kind = "api_error"
		}
		if message == "" {
			message = "simulated"
		}
		body = fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":%q}`,
			kind, message, x.w.Header().Get("Request-Id"))
	}
	x.write(body)
}

// json answers a request that wants no stream.
func (x *exchange) json() {
	path := x.r.URL.Path
	switch {
	case x.r.Method == http.MethodHead:
		x.rec.Outcome = Completed
	case path == "/v1/messages/count_tokens":
		x.write(fmt.Sprintf(`{"input_tokens":%d}`, x.rec.BodyBytes/4))
	case path == "/v1/models":
		x.write(`{"data":[{"type":"model","id":"claude-sim-1","display_name":"Claude Sim 1","created_at":"2026-01-01T00:00:00Z"}],"has_more":false,"first_id":"claude-sim-1","last_id":"claude-sim-1"}`)
	case path == "/v1/messages":
		x.write(`{"id":"msg_sim","type":"message","role":"assistant","model":"claude-sim-1","content":[{"type":"text","text":"` +
			Text(x.deltas()) + `"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":3}}`)
	default:
		x.fail(http.StatusNotFound, "Not found")
	}
}

func (x *exchange) deltas() int {
	if x.plan.Deltas == 0 {
		return 3
	}
	return x.plan.Deltas
}

// stream answers with server-sent events, one write and one flush each.
func (x *exchange) stream() {
	x.setType("text/event-stream; charset=utf-8")
	x.w.Header().Set("Cache-Control", "no-cache")
	var out io.Writer = x.w
	flush := x.rc.Flush
	end := func() error { return nil }
	if x.plan.Gzip {
		x.w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(x.w)
		out, end = zip, zip.Close
		flush = func() error {
			if err := zip.Flush(); err != nil {
				return err
			}
			return x.rc.Flush()
		}
	}
	x.w.WriteHeader(http.StatusOK)
	if x.rc.Flush() != nil {
		return
	}
	events := eachEvent(x.deltas())
	if x.plan.Tool {
		events = slices.Values(ToolEvents(x.deltas()))
	}
	i := -1
	for event := range events {
		i++
		if x.plan.CRLF {
			event = strings.ReplaceAll(event, "\n", "\r\n")
		}
		if !x.admit(i) {
			return
		}
		if x.breaksAt(i) {
			x.breakOff(out, flush, event)
			return
		}
		if _, err := io.WriteString(out, event); err != nil || flush() != nil {
			return
		}
	}
	if x.plan.Hold {
		<-x.r.Context().Done()
		return
	}
	if end() == nil {
		x.finish()
	}
}

// admit waits until event i may go. It says no when the client left.
func (x *exchange) admit(i int) bool {
	gone := x.r.Context().Done()
	if x.plan.Gated {
		select {
		case <-x.api.gate(x.plan.Name):
		case <-gone:
			return false
		}
	}
	if x.plan.Delay > 0 && i > 0 {
		timer := time.NewTimer(x.plan.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-gone:
			return false
		}
	}
	return true
}

func (x *exchange) breaksAt(i int) bool {
	return (x.plan.CutAfter > 0 || x.plan.Stall) && i == x.plan.CutAfter
}

// breakOff ends a stream in the way the plan names, before its next event.
func (x *exchange) breakOff(out io.Writer, flush func() error, next string) {
	if x.plan.CutInside {
		if _, err := io.WriteString(out, next[:len(next)/2]); err != nil || flush() != nil {
			return
		}
	}
	if x.plan.Stall {
		<-x.r.Context().Done()
		return
	}
	x.rec.Outcome = Cut
	panic(http.ErrAbortHandler)
}
