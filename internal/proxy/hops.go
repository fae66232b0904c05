package proxy

import (
	"net/http"
	"strconv"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
)

const maxForwards = "Max-Forwards"

// hops is how many recipients a request may still have behind us: of OPTIONS and
// TRACE they are counted (RFC 9110 7.6.2). What is no number counts as none.
func hops(r *edge.Request) (left uint64, counted bool) {
	value, lines := r.Header.Find(maxForwards)
	if lines == 0 || r.Method != http.MethodOptions && r.Method != http.MethodTrace {
		return 0, false
	}
	if lines == 1 {
		left, _ = strconv.ParseUint(value, 10, 64) // the largest when it is larger
	}
	return left, true
}

// countDown takes us off the recipients that a forwarded request may have.
func countDown(r *edge.Request) {
	left, counted := hops(r)
	for i := range r.Header {
		if counted && headers.Same(r.Header[i].Name, maxForwards) {
			r.Header[i].Value = strconv.FormatUint(left-1, 10)
		}
	}
}

// lastStop answers in the API's place what may go no further. Nothing of a TRACE
// is told back: it may hold a credential.
var lastStop = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodTrace {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	w.WriteHeader(http.StatusNoContent)
})
