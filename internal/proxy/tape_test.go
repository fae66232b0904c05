package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// tape is an API over plain HTTP/1.1 that keeps every byte that it is sent, by
// connection, and answers each request that net/http can read.
type tape struct {
	url   *url.URL
	heard chan string // each request as it came, head and content

	mu    sync.Mutex
	conns []*bytes.Buffer
	bad   []error // what could not be read
}

func newTape(t testing.TB) *tape {
	a := &tape{heard: make(chan string, 1<<10)}
	a.url = scripted(t, func(_ int, c net.Conn) {
		all := &bytes.Buffer{}
		a.mu.Lock()
		a.conns = append(a.conns, all)
		a.mu.Unlock()
		br := bufio.NewReader(io.TeeReader(c, lockedWriter{&a.mu, all}))
		for at := 0; ; {
			if !a.serve(c, br) {
				return
			}
			a.mu.Lock()
			end := all.Len() - br.Buffered()
			a.heard <- string(all.Bytes()[at:end])
			a.mu.Unlock()
			at = end
			if _, err := io.WriteString(c, fine); err != nil {
				return
			}
		}
	})
	return a
}

// serve reads one request; it is false behind the last.
func (a *tape) serve(c net.Conn, br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err == nil {
		if req.Header["Expect"] != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		_, err = io.Copy(io.Discard, req.Body)
	}
	if err != nil && err != io.EOF {
		a.mu.Lock()
		a.bad = append(a.bad, err)
		a.mu.Unlock()
	}
	return err == nil
}

// take is the record so far, one string a connection.
func (a *tape) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, b := range a.conns {
		all = append(all, b.String())
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
