// Package sse knows where one server-sent event ends and the next may begin.
// It never changes, delays or keeps what it sees.
package sse

// Boundary follows the bytes of a stream and tells whether it stands between
// two events, which end with an empty line (HTML Living Standard 9.2.6). The
// zero Boundary stands at the start of a stream. Lines end with LF or CRLF.
type Boundary struct {
	tail  [4]byte
	begun bool
}

// Write lets p pass. It never fails and keeps no reference to p.
func (b *Boundary) Write(p []byte) (int, error) {
	if len(p) > 0 {
		b.begun = true
	}
	if n := len(p); n >= len(b.tail) {
		copy(b.tail[:], p[n-len(b.tail):])
	} else {
		copy(b.tail[:], b.tail[n:])
		copy(b.tail[len(b.tail)-n:], p)
	}
	return len(p), nil
}

// Between reports whether a whole event may be added here.
func (b *Boundary) Between() bool {
	t := b.tail
	return !b.begun || t[2] == '\n' && t[3] == '\n' || t == [4]byte{'\r', '\n', '\r', '\n'}
}
