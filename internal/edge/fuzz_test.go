package edge

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/headers"
)

// said is a connection on which everything has come already.
type said struct {
	net.Conn
	r io.Reader
}

func (s said) Read(p []byte) (int, error)      { return s.r.Read(p) }
func (s said) SetReadDeadline(time.Time) error { return nil }

// hear reads a request from bytes as a connection does, whole or in pieces. It
// is nil when the head is refused or not whole.
func hear(b []byte, piece int) (r *Request, body, rest []byte, err error) {
	var from io.Reader = bytes.NewReader(b)
	if piece > 0 {
		from = &pieces{b, piece}
	}
	var in intake
	in.init(newConn(said{r: from}))
	var p headParser
	for {
		done, refused := p.parse(in.bytes())
		if refused != nil {
			return nil, nil, nil, nil
		}
		if done {
			break
		}
		if in.fill() != nil {
			return nil, nil, nil, nil
		}
	}
	req, refused := p.request(in.bytes())
	if refused != nil {
		return nil, nil, nil, nil
	}
	in.take(p.at)
	switch {
	case req.ContentLength < 0:
		body, err = io.ReadAll(&chunked{in: &in, trailer: req.Trailer})
	case req.ContentLength > 1<<20:
		return nil, nil, nil, nil
	default:
		body = make([]byte, req.ContentLength)
		_, err = io.ReadFull(&in, body)
	}
	rest, _ = io.ReadAll(&in)
	return &req, body, rest, err
}

// pieces hands out a little at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// FuzzRequest holds our reading against net/http's, which is lenient: what we
// take for a request, it takes for the same one, with the same body and the
// same bytes behind it; and it is the same in whatever pieces it comes.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;a=b\r\n{}\r\n0\r\nX-T: 1\r\n\r\nrest",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n", "\r\n\r\nGET / HTTP/1.1\r\nHost:x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, body, rest, err := hear(b, 0)
		for _, size := range []int{1, 7} {
			r2, body2, rest2, err2 := hear(b, size)
			if (r == nil) != (r2 == nil) || !bytes.Equal(body, body2) || (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(rest, rest2) {
				t.Fatalf("in pieces of %d: %+v %q %v %q; whole: %+v %q %v %q", size, r2, body2, err2, rest2, r, body, err, rest)
			}
		}
		if r == nil {
			return
		}
		if _, bad := url.ParseRequestURI(r.Target); bad != nil || r.Method == http.MethodConnect {
			return // net/http wants to understand a target; we pass it on
		}
		for bytes.HasPrefix(b, crlf) {
			b = b[2:]
		}
		br := bufio.NewReader(bytes.NewReader(b))
		std, stdErr := http.ReadRequest(br)
		if stdErr != nil {
			t.Fatalf("net/http refuses what we take: %v", stdErr)
		}
		stdBody, stdBodyErr := io.ReadAll(std.Body)
		if std.Method != r.Method || std.RequestURI != r.Target || std.ContentLength != r.ContentLength ||
			(std.TransferEncoding != nil) != (r.ContentLength < 0) {
			t.Fatalf("we read %s %s %d, net/http %s %s %d", r.Method, r.Target, r.ContentLength, std.Method, std.RequestURI, std.ContentLength)
		}
		if !strings.Contains(r.Target, "://") && std.Host != r.Host {
			t.Fatalf("host: we read %q, net/http %q", r.Host, std.Host)
		}
		for name, values := range r.Header.HTTP() {
			if !slices.Equal(std.Header[name], values) && !(name == "Cache-Control" || name == "Pragma") {
				t.Fatalf("%s: we read %q, net/http %q", name, values, std.Header[name])
			}
		}
		if err != nil {
			return // we refuse the body
		}
		stdRest, _ := io.ReadAll(br)
		if stdBodyErr != nil || !bytes.Equal(stdBody, body) || !bytes.Equal(stdRest, rest) {
			t.Fatalf("we read the body %q and %q behind it, net/http %q (%v) and %q", body, rest, stdBody, stdBodyErr, stdRest)
		}
	})
}

// FuzzAnswer has net/http read what we write: one answer, with just that
// content and those fields, whatever a value holds (9110 2.2, 9110 5.5, 9112 11.1).
func FuzzAnswer(f *testing.F) {
	f.Add(200, "value", []byte("content"), []byte("more"), true, "trailer")
	f.Add(529, "a\r\nX-Other: b\r\n\r\n", []byte{}, []byte("x"), false, "\n")
	f.Add(304, "", []byte{}, []byte{}, true, "")
	f.Fuzz(func(t *testing.T, status int, value string, a, b []byte, chunks bool, trailer string) {
		if status < 200 || status > 999 {
			return
		}
		length := int64(len(a) + len(b))
		h := Head{Status: status, Header: headers.Fields{{Name: "X-Value", Value: value}}, ContentLength: length}
		var trailers headers.Fields
		if chunks {
			h.ContentLength, h.Trailer = -1, []string{"X-Trailer"}
			trailers = headers.Fields{{Name: "X-Trailer", Value: trailer}}
		}
		var out bytes.Buffer
		x := written(&out)
		x.Respond(h)
		for _, p := range [][]byte{a, b} {
			if _, err := x.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Finish(trailers); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(&out)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("net/http cannot read it: %v", err)
		}
		got, err := io.ReadAll(res.Body)
		want := append(append([]byte{}, a...), b...)
		if status == http.StatusNoContent || status == http.StatusNotModified {
			want = nil
		}
		if err != nil || res.StatusCode != status || !bytes.Equal(got, want) || len(res.Header["X-Value"]) != 1 || res.Header["X-Other"] != nil || br.Buffered() > 0 {
			t.Fatalf("net/http read %d %v %q, %v, and %d bytes behind it", res.StatusCode, res.Header, got, err, br.Buffered())
		}
	})
}

// written is an exchange whose answer goes into a buffer.
func written(out *bytes.Buffer) *h1exchange {
	c := newEngine(nil, zerolog.Nop(), nil).newConn(newConn(sink{w: out}))
	return c.newExchange(Request{Method: "GET", Proto: HTTP11})
}

type sink struct {
	net.Conn
	w io.Writer
}

func (s sink) Write(p []byte) (int, error)      { return s.w.Write(p) }
func (s sink) SetWriteDeadline(time.Time) error { return nil }
