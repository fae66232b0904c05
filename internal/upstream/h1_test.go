package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

var quietStd = log.New(io.Discard, "", 0)

func rootsOf(s *httptest.Server) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return roots
}

// tls1 is an API of bare HTTP/1.1 over TLS: script owns each connection.
func tls1(t *testing.T, script func(n int, c *tls.Conn, socket *corked, br *bufio.Reader)) *Pool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := lent.Clone()
	config.NextProtos = []string{"http/1.1"}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				socket := &corked{Conn: c}
				secure := tls.Server(socket, config)
				script(n, secure, socket, bufio.NewReader(secure))
			})
		}
	})
	p := New(&url.URL{Scheme: "https", Host: ln.Addr().String()}, Options{TLS: &tls.Config{InsecureSkipVerify: true}})
	t.Cleanup(func() { p.Close(); _ = ln.Close(); all.Wait() })
	return p
}

// corked is a socket that can hold back what is written.
type corked struct {
	net.Conn
	held *bytes.Buffer
}

func (c *corked) hold() { c.held = &bytes.Buffer{} }

func (c *corked) release() {
	_ = c.SetWriteDeadline(time.Time{}) // CloseWrite has set one
	_, _ = c.Conn.Write(c.held.Bytes())
	c.held = nil
}

func (c *corked) Write(p []byte) (int, error) {
	if c.held != nil {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

// An end that came with the last answer is seen before the next request is
// sent, though TLS has taken it from the socket already.
func TestAnEndBehindTheAnswerIsSeen(t *testing.T) {
	p := tls1(t, func(n int, c *tls.Conn, socket *corked, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d", n)
		socket.hold() // the answer and the goodbye leave in one segment
		_, _ = io.WriteString(c, answer)
		_ = c.CloseWrite()
		socket.release()
		_, _ = io.Copy(io.Discard, br)
	})
	for i := range 20 {
		got, err := get(t.Context(), p, "/")
		if err != nil || got != fmt.Sprintf("%02d", i+1) {
			t.Fatalf("request %d: %q, %v", i, got, err)
		}
	}
}

// An answer that came and is none is told apart from one that did not come.
func TestAnswersThatAreNone(t *testing.T) {
	for _, tc := range []struct {
		answer string
		none   bool
	}{
		{"", false},
		{"HTTP/1.1 200 OK\r\nContent-Le", false},
		{"HTTP/1.1 100 Continue\r\n\r\n", false},
		{"SSH-2.0-OpenSSH\r\n", true},
		{"HTTP/1.1 099 X\r\n\r\n", true},
		{"HTTP/1.1 101 X\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nno field\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", true},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxHeadBytes) + "\r\n\r\n", true},
	} {
		p := tls1(t, func(_ int, c *tls.Conn, _ *corked, br *bufio.Reader) {
			if _, err := http.ReadRequest(br); err == nil {
				_, _ = io.WriteString(c, tc.answer)
			}
		})
		if _, err := get(t.Context(), p, "/"); err == nil || errors.Is(err, ErrNotHTTP) != tc.none {
			t.Errorf("%.60q: %v, want that it is none: %v", tc.answer, err, tc.none)
		}
	}
}

// `Pragma: no-cache` is passed on as it is: nothing joins it and nothing that
// was said is lost, in interim heads either.
func TestPragmaStandsAlone(t *testing.T) {
	long := "X-Long: " + strings.Repeat("l", 9000) + "\r\n"
	for _, tc := range []struct{ head, want string }{
		{"Pragma: no-cache\r\n", ""},
		{"pragma: no-cache\r\nCACHE-control: no-cache\r\n", "no-cache"},
		{"Cache-Control: max-age=1\r\nPragma: no-cache\r\n", "max-age=1"},
		{long + "Pragma: no-cache\r\n" + long, ""},
		{long + "Cache-Control:no-cache\r\n" + long + "Pragma: no-cache\r\n", "no-cache"},
		{"X-Cache-Control: no-cache\r\nPragma: no-cache\r\nX-Y: Cache-Control: no\r\n", ""},
	} {
		body := "\nCache-Control: no-cache\r\n\r\n"
		p := tls1(t, func(_ int, c *tls.Conn, _ *corked, br *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n%s\r\nHTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", tc.head, tc.head, len(body), body)
			}
		})
		for range 2 {
			var early headers.Fields
			res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/",
				Interim: func(_ int, h headers.Fields) { early = h }})
			if err != nil {
				t.Fatal(err)
			}
			for what, h := range map[string]headers.Fields{"interim": early, "final": res.Header} {
				if got := h.Get("Cache-Control"); got != tc.want || h.Get("Pragma") != "no-cache" {
					t.Errorf("%.40q, %s: %q, want %q", tc.head, what, got, tc.want)
				}
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != body {
				t.Errorf("%q, %v", got, err)
			}
			_ = res.Body.Close()
		}
		if h1, _ := p.Connections(); h1 != 1 {
			t.Errorf("%d connections", h1)
		}
	}
}

// A connection that carried a long upload serves on when the API granted it,
// and not when it was refused: some servers then close without a word.
func TestConnectionsAfterALongUpload(t *testing.T) {
	for _, tc := range []struct{ status, conns int }{{200, 1}, {413, 2}} {
		p := tls1(t, func(_ int, c *tls.Conn, _ *corked, br *bufio.Reader) {
			for {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", tc.status)
			}
		})
		for range 2 {
			res, err := p.RoundTrip(t.Context(), post(p, io.LimitReader(zeros{}, 2*longUpload)))
			if err != nil || res.Status != tc.status {
				t.Fatal(res, err)
			}
			_ = res.Body.Close()
		}
		if n := int(scraped(t, p)["upstream_dial_seconds"]); n != tc.conns {
			t.Errorf("status %d: %d connections, want %d", tc.status, n, tc.conns)
		}
	}
}
