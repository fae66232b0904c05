package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"anthropic-oauth-proxy/internal/testkit"
)

// tape is an API over plain HTTP/1.1 that keeps every byte that it is sent, by
// connection, and answers each request that net/http can read. Its answers are
// numbered in X-Tape.
type tape struct {
	heard chan string // each request as it came, head and content

	mu       sync.Mutex
	conns    []*testkit.Buffer
	answered int
}

func newTape() *tape { return &tape{heard: make(chan string, 1<<10)} }

// play is the script of a connection.
func (a *tape) play(_ int, c net.Conn) {
	all := &testkit.Buffer{}
	a.mu.Lock()
	a.conns = append(a.conns, all)
	a.mu.Unlock()
	br := bufio.NewReader(io.TeeReader(c, all))
	for at := 0; ; {
		method, err := a.serve(c, br)
		if err != nil {
			return
		}
		record := all.String()
		end := len(record) - br.Buffered()
		a.heard <- record[at:end]
		a.mu.Lock()
		a.answered++
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Tape: %d\r\nContent-Length: 4\r\n\r\n", a.answered)
		a.mu.Unlock()
		at = end
		if method != http.MethodHead {
			answer += "fine"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// serve reads one request.
func (a *tape) serve(c net.Conn, br *bufio.Reader) (method string, err error) {
	req, err := http.ReadRequest(br)
	if err != nil {
		return "", err
	}
	if req.Header["Expect"] != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	_, err = io.Copy(io.Discard, req.Body)
	return req.Method, err
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
