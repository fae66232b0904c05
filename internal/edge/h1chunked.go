package edge

import (
	"bytes"
	"io"
	"strings"

	"anthropic-oauth-proxy/internal/headers"
)

// chunked reads content in chunks (RFC 9112 7.1), as strictly as the head was
// read: a size that two readers could take for two is malformed.
type chunked struct {
	in      *intake
	left    int64            // of the chunk
	begun   bool             // a chunk was read, whose line end is due
	excess  int              // bytes of chunk extensions so far
	trailer *headers.Trailer // nil when none was announced
}

const (
	// longestChunkLine bounds a chunk's size with its extensions, and
	// longestExtensions those of a whole body.
	longestChunkLine  = 4 << 10
	longestExtensions = 16 << 10
	// longestSize is in hexadecimal digits: nobody has more than 2^60 bytes.
	longestSize = 15
)

func (c *chunked) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.in.Read(p)
	c.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads what stands between two chunks; it is io.EOF behind the last.
func (c *chunked) next() error {
	if c.begun {
		line, err := c.line(len("\r\n"))
		if err != nil {
			return err
		}
		if len(line) > 0 {
			return ErrMalformed
		}
		c.in.take(len("\r\n"))
		c.begun = false
	}
	line, err := c.line(longestChunkLine)
	if err != nil {
		return err
	}
	size, extension, ok := chunkSize(line)
	if c.excess += extension; !ok || c.excess > longestExtensions {
		return ErrMalformed
	}
	c.in.take(len(line) + len("\r\n"))
	if size == 0 {
		return c.trailers()
	}
	c.left, c.begun = size, true
	return nil
}

// line waits for a whole line of at most the given length, and does not take
// it. It comes without its end.
func (c *chunked) line(longest int) ([]byte, error) {
	for {
		b := c.in.bytes()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' || i >= longest {
				return nil, ErrMalformed
			}
			return b[:i-1], nil
		}
		if len(b) >= longest {
			return nil, ErrMalformed
		}
		if err := c.in.fill(); err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
}

// chunkSize reads "size *( ; name [= value] )" (RFC 9112 7.1.1). Extensions
// mean nothing to us, but they must be what they claim to be.
func chunkSize(line []byte) (size int64, extension int, ok bool) {
	digits := 0
	for digits < len(line) && classes[line[digits]]&inHex != 0 {
		size = size<<4 | int64(hexValue(line[digits]))
		digits++
		if digits > longestSize {
			return 0, 0, false
		}
	}
	rest := line[digits:]
	return size, len(rest), digits > 0 && extensions(rest)
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

func extensions(b []byte) bool {
	for b = trimOWS(b); len(b) > 0; b = trimOWS(b) {
		if b[0] != ';' {
			return false
		}
		b = trimOWS(b[1:])
		n := length(b, inToken)
		if n == 0 {
			return false
		}
		if b = trimOWS(b[n:]); len(b) == 0 || b[0] != '=' {
			continue
		}
		b = trimOWS(b[1:])
		n = length(b, inToken)
		if n == 0 {
			n = quoted(b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// length counts the leading bytes of a class.
func length(b []byte, c class) int {
	n := 0
	for n < len(b) && classes[b[n]]&c != 0 {
		n++
	}
	return n
}

// quoted is the length of a leading quoted string (RFC 9110 5.6.4), 0 when
// there is none.
func quoted(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return i + 1
		case b[i] == '\\':
			i++
		}
		if i == len(b) || classes[b[i]]&inValue == 0 {
			return 0
		}
	}
	return 0
}

// trailers reads the trailer section (RFC 9112 7.1.2) to the end of the
// content. Only what was announced is kept: nothing else may be merged into
// a message that has gone on.
func (c *chunked) trailers() error {
	announced := c.announced()
	for size := 0; ; {
		line, err := c.line(headBytes - size)
		if err != nil {
			return err
		}
		taken := len(line) + len("\r\n")
		if len(line) == 0 {
			c.in.take(taken)
			return io.EOF
		}
		var p headParser
		if p.fieldLine(line, span{0, len(line)}) != nil {
			return ErrMalformed
		}
		f := p.fields[0]
		name := string(line[f.name.from:f.name.to])
		if announced[strings.ToLower(name)] {
			c.trailer.Fields = append(c.trailer.Fields, headers.Field{Name: name, Value: string(line[f.value.from:f.value.to])})
		}
		size += taken
		c.in.take(taken)
	}
}

// announced are the names of the trailer, in lower case.
func (c *chunked) announced() map[string]bool {
	if c.trailer == nil {
		return nil
	}
	names := make(map[string]bool, len(c.trailer.Names))
	for _, name := range c.trailer.Names {
		names[strings.ToLower(name)] = true
	}
	return names
}
