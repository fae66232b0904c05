package edge

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
)

// rawHeads keeps the raw head of the request that net/http's server is reading
// from a connection. That server drops the Content-Length of a request that is
// chunked too, so only the raw head tells of the two lengths with which
// requests are smuggled past somebody in front of us (RFC 9112 6.1).
type rawHeads struct {
	mu        sync.Mutex
	recording bool
	never     bool          // it speaks HTTP/2, which frames its requests
	head      *bytes.Buffer // nil while there is none
}

// recorded is a connection whose heads are kept.
type recorded struct{ *Conn }

// Read reads, and keeps what belongs to a head.
func (r recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Conn.Read(p)
	if n > 0 {
		r.heads.keep(p[:n])
	}
	return n, err
}

var headBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

var (
	endOfHead  = []byte("\r\n\r\n")
	endOfHead2 = []byte("\n\n") // net/http takes bare line feeds
	// prefaceLine begins an HTTP/2 connection (RFC 9113 3.4).
	prefaceLine = []byte("PRI * HTTP/2.0")
)

// longestHead is above what the server reads of a head.
const longestHead = 80 << 10

func (h *rawHeads) keep(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.recording {
		return
	}
	if h.head == nil {
		h.head = headBuffers.Get().(*bytes.Buffer)
	}
	seen := max(0, h.head.Len()-len(endOfHead))
	h.head.Write(p)
	fresh := h.head.Bytes()[seen:]
	end := bytes.Index(fresh, endOfHead)
	if other := bytes.Index(fresh, endOfHead2); end < 0 || other >= 0 && other < end {
		end = other
	}
	switch {
	case end >= 0:
		h.head.Truncate(seen + end)
		h.recording = false
		if bytes.HasPrefix(h.head.Bytes(), prefaceLine) {
			h.never = true
			h.drop()
		}
	case h.head.Len() > longestHead:
		h.drop()
	}
}

func (h *rawHeads) drop() {
	h.recording = false
	if h.head != nil {
		h.head.Reset()
		headBuffers.Put(h.head)
		h.head = nil
	}
}

// follow is told of the server's view of the connection: between two requests
// the next head begins.
func (h *rawHeads) follow(state http.ConnState) {
	if state == http.StateActive || state == http.StateHijacked {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop()
	h.recording = state != http.StateClosed && !h.never
}

// oneLength reports whether the request has one length at most, and forgets its
// head. A chunked request whose head came in an earlier request's packet is not
// believed: its sender did not wait, and what it says cannot be seen.
func (h *rawHeads) oneLength(r *http.Request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.drop()
	if len(r.TransferEncoding) == 0 {
		return true
	}
	if h.head == nil {
		return false
	}
	line, fields, _ := bytes.Cut(h.head.Bytes(), []byte("\n"))
	start := r.Method + " " + r.RequestURI + " "
	// net/http may have read one byte ahead while it served the request before.
	if !strings.HasPrefix(string(line), start) && !strings.HasPrefix(string(line), start[1:]) {
		return false
	}
	for field := range bytes.SplitSeq(fields, []byte("\n")) {
		name, _, _ := bytes.Cut(field, []byte(":"))
		if strings.EqualFold(string(bytes.TrimSpace(name)), "content-length") {
			return false
		}
	}
	return true
}
