package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"

	"anthropic-oauth-proxy/internal/headers"
)

// h1Sink frames content for an HTTP/1.1 connection.
func h1Sink(to io.Writer, req *Request) sink {
	if req.ContentLength >= 0 {
		return counted{to}
	}
	return &chunked{to: to}
}

// counted is content whose length the head has told.
type counted struct{ to io.Writer }

func (c counted) write(p []byte) error {
	_, err := c.to.Write(p)
	return err
}

func (counted) finish(headers.Fields) error { return nil }

// breakOff has nothing to say: the connection is closed with its exchange.
func (counted) breakOff() {}

// chunked is content of unknown length (RFC 9112 7.1), each write a chunk.
type chunked struct {
	to    io.Writer
	frame []byte
}

func (c *chunked) write(p []byte) error {
	c.frame = append(strconv.AppendInt(c.frame[:0], int64(len(p)), 16), "\r\n"...)
	c.frame = append(append(c.frame, p...), "\r\n"...)
	_, err := c.to.Write(c.frame)
	return err
}

func (c *chunked) finish(trailer headers.Fields) error {
	_, err := c.to.Write(append(appendFields([]byte("0\r\n"), trailer), "\r\n"...))
	return err
}

func (*chunked) breakOff() {}

// appendHead writes the request line and the fields (RFC 9112 3 and 5). Names
// and values were validated by the server that read them; the target too.
func appendHead(b []byte, host string, req *Request) []byte {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, req.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	b = appendFields(b, req.Header)
	switch {
	case req.Body == nil:
		if req.ContentLength == 0 && expectsLength(req.Method) {
			b = append(b, "Content-Length: 0\r\n"...)
		}
	case req.ContentLength >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.ContentLength, 10)
		b = append(b, "\r\n"...)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		if req.Trailer != nil {
			for _, name := range req.Trailer.Names {
				b = append(append(append(b, "Trailer: "...), name...), "\r\n"...)
			}
		}
	}
	return append(b, "\r\n"...)
}

// expectsLength tells the methods whose empty content is said (RFC 9110 8.6).
func expectsLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

func appendFields(b []byte, h headers.Fields) []byte {
	for _, f := range h {
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	return b
}

// headReader stands between the connection and net/http's parser while heads
// are read. It bounds them, and sees what the parser would hide: beside
// `Pragma: no-cache` it puts a Cache-Control that the API never sent, and of
// HTTP/1.0 it takes a Transfer-Encoding away.
type headReader struct {
	from io.Reader
	left int64
	line []byte // the beginning of the line that is being read
	full int    // the line's length
	lost error  // what reading from the connection failed with
	seen lines  // of the head that is being read
	done []lines
}

// lines are those of a head that count.
type lines struct{ cacheControl, coding bool }

const (
	unlimited    = 1 << 62
	cacheControl = "cache-control:"
	coding       = "transfer-encoding:"
)

// begin is called before each head.
func (r *headReader) begin() {
	if r.left = maxHeadBytes; r.line == nil {
		r.line = make([]byte, 0, max(len(cacheControl), len(coding)))
	}
}

// end is called after the last head: what follows is content.
func (r *headReader) end() {
	*r = headReader{from: r.from, left: unlimited}
}

// truthful takes out of a head what the parser put in, and refuses what it lets
// pass: a name that is none, which the next reader may take for another, and a
// coding of HTTP/1.0 (RFC 9112 5.1, 6.1).
func (r *headReader) truthful(res *http.Response) error {
	had := lines{cacheControl: true}
	if len(r.done) > 0 {
		had, r.done = r.done[0], r.done[1:]
	}
	if !had.cacheControl {
		delete(res.Header, "Cache-Control")
	}
	switch {
	case !wellNamed(res.Header):
		return errBadField
	case had.coding && !res.ProtoAtLeast(1, 1):
		return errOldCoding
	}
	return nil
}

// blame says of a head that could not be read whether it is the head's fault.
func (r *headReader) blame(err error) error {
	if r.lost != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotHTTP, err)
}

// wellNamed reports whether every name is a token.
func wellNamed(h http.Header) bool {
	for name := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
	}
	return true
}

func (r *headReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("read head: %w", errHeadTooLarge)
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.from.Read(p)
	r.left -= int64(n)
	r.lost = err
	if r.line != nil {
		r.watch(p[:n])
	}
	return n, err
}

func (r *headReader) watch(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		r.line = append(r.line, part[:min(len(part), cap(r.line)-len(r.line))]...)
		r.full += len(part)
		if end < 0 {
			return
		}
		switch {
		case r.full == 0, r.full == 1 && r.line[0] == '\r':
			r.done, r.seen = append(r.done, r.seen), lines{}
		case begins(r.line, cacheControl):
			r.seen.cacheControl = true
		case begins(r.line, coding):
			r.seen.coding = true
		}
		r.line, r.full = r.line[:0], 0
		p = p[end+1:]
	}
}

func begins(line []byte, name string) bool {
	return len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
}
