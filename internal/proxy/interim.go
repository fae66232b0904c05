package proxy

import (
	"maps"
	"net/http"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// interimDeadline is how long a client may take to read a 1xx answer: nothing
// of the final one is read meanwhile.
const interimDeadline = time.Second

// passInterim passes a 1xx answer on while the final one is awaited.
func (x *exchange) passInterim(status int, h http.Header) {
	if !x.r.ProtoAtLeast(1, 1) {
		return
	}
	_ = x.rc.SetWriteDeadline(time.Now().Add(interimDeadline))
	own := x.w.Header()
	headers.Response(own, h)
	x.w.WriteHeader(status)
	maps.DeleteFunc(own, func(string, []string) bool { return true })
	x.writes.forget()
	x.writes.rest()
}
