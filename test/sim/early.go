package sim

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// An EarlyAPI is an HTTP/1.1 upstream that sends its whole answer, a stream of
// three deltas, the moment it has read a request's header block; only then
// does it read the body, and it keeps the connection. net/http's server cannot
// play that part: it ends a chunked answer when its handler returns, and an
// unread body then costs it the connection.
type EarlyAPI struct {
	*conns
	scheme string
	total  atomic.Int64
}

// StartEarly begins to listen, with TLS when there is a CA. The caller must
// Close the API.
func StartEarly(ca *CA) (*EarlyAPI, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &EarlyAPI{scheme: "http://"}
	if ca != nil {
		conf, err := ca.ServerConfig("http/1.1")
		if err != nil {
			socket.Close()
			return nil, err
		}
		socket, a.scheme = tls.NewListener(socket, conf), "https://"
	}
	a.conns = accept(socket, a.serve)
	return a, nil
}

// URL is the API's base URL, without a path.
func (a *EarlyAPI) URL() string { return a.scheme + a.socket.Addr().String() }

// Total is how many requests have arrived.
func (a *EarlyAPI) Total() int { return int(a.total.Load()) }

func (a *EarlyAPI) serve(conn net.Conn) {
	stream := strings.Join(Events(3), "")
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(stream), stream)
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		a.total.Add(1)
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
	}
}
