package edge

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"anthropic-oauth-proxy/internal/headers"
)

// answer is the framing of an answer over HTTP/1 (RFC 9112 6).
type answer struct {
	head     *Head // until it has begun
	content  bool  // it can have content at all
	declared bool  // its length is told
	chunked  bool  // or it comes in chunks; or its end is the connection's
	left     int64 // of the declared length
	close    bool  // the connection closes behind it
	begun    bool  // its head is on its way
	finished bool
}

func newAnswer(r *Request, h *Head) answer {
	a := answer{head: h, content: hasContent(r.Method, h.Status)}
	a.close = h.Close || r.last
	switch {
	case h.ContentLength >= 0:
		a.declare(h.ContentLength)
	case r.Proto == HTTP11 && a.content:
		a.chunked = true
	case a.content:
		a.close = true
	}
	return a
}

func (a *answer) declare(length int64) {
	a.head.ContentLength = length
	a.declared, a.chunked, a.left = declaresLength(a.head.Status, length), false, length
}

// isInterim tells the answers that precede the final one. 101 is none: it ends
// HTTP (RFC 9110 15.2).
func isInterim(status int) bool {
	return status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols
}

// hasContent tells the answers that can carry content (RFC 9110 6.4.1).
func hasContent(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// declaresLength reports whether an answer may and does tell its length
// (RFC 9110 8.6).
func declaresLength(status int, length int64) bool {
	if status == http.StatusNoContent || status == http.StatusNotModified && length == 0 {
		return false
	}
	return length >= 0
}

// append appends the head.
func (a *answer) append(b []byte, proto Protocol) []byte {
	b = appendStatusLine(b, proto, a.head.Status)
	b = appendFields(b, a.head.Header)
	if a.declared {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, a.head.ContentLength, 10)
		b = append(b, '\r', '\n')
	}
	if a.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		for _, name := range a.head.Trailer {
			b = appendField(b, "Trailer", name)
		}
	}
	if a.close && proto != HTTP10 {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, '\r', '\n')
}

// appendStatusLine speaks HTTP/1.0 to who does (RFC 9110 2.5 leaves it to us).
func appendStatusLine(b []byte, proto Protocol, status int) []byte {
	if proto == HTTP10 {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ') // due without a reason too (RFC 9112 4)
	b = append(b, http.StatusText(status)...)
	return append(b, '\r', '\n')
}

// appendFields appends all but the framing, which is not the handler's.
func appendFields(b []byte, h headers.Fields) []byte {
	for _, f := range h {
		if !frames(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	return b
}

func frames(name string) bool {
	return headers.Same(name, "Content-Length") || headers.Same(name, "Transfer-Encoding") ||
		headers.Same(name, "Connection") || headers.Same(name, "Trailer")
}

// appendField appends a line that is one line, whatever a value holds: a space
// stands for what may not be there (RFC 9110 5.5). The name gets the spelling
// that clients of HTTP/1 are used to, whatever an API over HTTP/2 sent.
func appendField(b []byte, name, value string) []byte {
	at := len(b)
	b = append(b, name...)
	begins := true // of the name, or of a word in it
	for i, c := range b[at:] {
		switch {
		case begins && 'a' <= c && c <= 'z', !begins && 'A' <= c && c <= 'Z':
			b[at+i] = c ^ 0x20
		}
		begins = c == '-'
	}
	b = append(b, ": "...)
	at = len(b)
	b = append(b, value...)
	for i, c := range b[at:] {
		if (c < ' ' || c == 0x7f) && c != '\t' {
			b[at+i] = ' '
		}
	}
	return append(b, '\r', '\n')
}

func appendChunkSize(b []byte, n int) []byte {
	b = strconv.AppendInt(b, int64(n), 16)
	return append(b, '\r', '\n')
}

var crlf = []byte("\r\n")

const (
	// copied is the longest content that is copied into one piece with its
	// framing; longer ones go to the kernel as parts.
	copied = 4 << 10
	// outputBuffer is what the pool keeps.
	outputBuffer = 8 << 10
)

// output is one write, borrowed for as long as it takes.
type output struct {
	b     []byte
	parts [][]byte
}

var outputs = sync.Pool{New: func() any { return &output{b: make([]byte, 0, outputBuffer), parts: make([][]byte, 0, 3)} }}

func (o *output) free() {
	if cap(o.b) > 2*outputBuffer {
		return
	}
	o.b = o.b[:0]
	clear(o.parts[:cap(o.parts)])
	outputs.Put(o)
}

// A handler that breaks its own word is a bug.
var (
	errShort = errors.New("the answer is shorter than its declared length")
	errLong  = errors.New("the answer is longer than its declared length")
)
