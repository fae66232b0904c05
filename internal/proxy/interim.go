package proxy

import (
	"maps"
	"net/http"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/proxy/headers"
)

// interim passes 1xx answers on while the final one is awaited. The engine may
// call it from the goroutine that reads a whole HTTP/2 connection, so a client
// that does not read must not hold it for long.
type interim struct {
	x      *exchange
	mu     sync.Mutex
	closed bool
}

const interimDeadline = time.Second

func (i *interim) write(status int, h http.Header) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.x.r.ProtoAtLeast(1, 1) {
		return
	}
	_ = i.x.rc.SetWriteDeadline(time.Now().Add(interimDeadline))
	own := i.x.w.Header()
	headers.Response(own, h)
	i.x.w.WriteHeader(status)
	maps.DeleteFunc(own, func(string, []string) bool { return true })
	i.x.writes.forget()
	i.x.writes.rest()
}

// close keeps late interim answers away from the final one's header.
func (i *interim) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
}
