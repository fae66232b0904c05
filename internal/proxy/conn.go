package proxy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
)

// Conn is a client's connection that keeps the raw head of the request being
// read. net/http drops the Content-Length of a request that is chunked too, so
// only the raw head tells of the two lengths with which requests are smuggled
// past somebody in front of us (RFC 9112 6.1).
type Conn struct {
	net.Conn

	mu        sync.Mutex
	recording bool
	never     bool          // it speaks HTTP/2, which frames its requests
	head      *bytes.Buffer // nil while there is none
}

var heads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

var (
	endOfHead  = []byte("\r\n\r\n")
	endOfHead2 = []byte("\n\n") // net/http takes bare line feeds
	// prefaceLine begins an HTTP/2 connection (RFC 9113 3.4).
	prefaceLine = []byte("PRI * HTTP/2.0")
)

// longestHead is above what the server reads of a head.
const longestHead = 80 << 10

// NewConn begins to keep heads.
func NewConn(c net.Conn) net.Conn { return &Conn{Conn: c, recording: true} }

// Read reads, and keeps what belongs to a head.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording && n > 0 {
		c.keep(p[:n])
	}
	return n, err
}

func (c *Conn) keep(p []byte) {
	if c.head == nil {
		c.head = heads.Get().(*bytes.Buffer)
	}
	seen := max(0, c.head.Len()-len(endOfHead))
	c.head.Write(p)
	fresh := c.head.Bytes()[seen:]
	end := bytes.Index(fresh, endOfHead)
	if other := bytes.Index(fresh, endOfHead2); end < 0 || other >= 0 && other < end {
		end = other
	}
	switch {
	case end >= 0:
		c.head.Truncate(seen + end)
		c.recording = false
		if bytes.HasPrefix(c.head.Bytes(), prefaceLine) {
			c.never = true
			c.drop()
		}
	case c.head.Len() > longestHead:
		c.drop()
	}
}

func (c *Conn) drop() {
	c.recording = false
	if c.head != nil {
		c.head.Reset()
		heads.Put(c.head)
		c.head = nil
	}
}

// ConnState is for the server's field of the same name: between two requests
// the next head begins.
func ConnState(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*Conn)
	if !ok || state != http.StateIdle && state != http.StateClosed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
	c.recording = state == http.StateIdle && !c.never
}

// oneLength reports whether the request has one length at most, and forgets its
// head. A chunked request whose head came in an earlier request's packet is not
// believed: its sender did not wait, and what it says cannot be seen.
func (c *Conn) oneLength(r *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.drop()
	if len(r.TransferEncoding) == 0 {
		return true
	}
	if c.head == nil {
		return false
	}
	line, fields, _ := bytes.Cut(c.head.Bytes(), []byte("\n"))
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

// SyscallConn is the socket's own.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}

// CloseWrite is the socket's own: net/http ends a connection gently with it.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// oneLength asks the request's connection. One that keeps no heads cannot tell.
func oneLength(ctx context.Context, r *http.Request) bool {
	c, ok := ctx.Value(connKey{}).(*Conn)
	return !ok || r.ProtoMajor != 1 || c.oneLength(r)
}
