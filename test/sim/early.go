package sim

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// An EarlyAPI is an HTTP/1.1 upstream that sends its whole answer, a stream of
// three deltas, the moment it has read a request's header block; only then
// does it read the body, and it keeps the connection. net/http's server cannot
// play that part: it ends a chunked answer when its handler returns, and an
// unread body then costs it the connection.
type EarlyAPI struct {
	socket net.Listener
	scheme string
	total  atomic.Int64

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	served sync.WaitGroup
}

// StartEarly begins to listen, with TLS when there is a CA. The caller must
// Close the API.
func StartEarly(ca *CA) (*EarlyAPI, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &EarlyAPI{socket: socket, scheme: "http://", conns: map[net.Conn]bool{}}
	if ca != nil {
		conf, err := ca.ServerConfig("http/1.1")
		if err != nil {
			socket.Close()
			return nil, err
		}
		a.socket, a.scheme = tls.NewListener(socket, conf), "https://"
	}
	a.served.Go(a.accept)
	return a, nil
}

// URL is the API's base URL, without a path.
func (a *EarlyAPI) URL() string { return a.scheme + a.socket.Addr().String() }

// Total is how many requests have arrived.
func (a *EarlyAPI) Total() int { return int(a.total.Load()) }

// Close breaks every connection and waits for all goroutines.
func (a *EarlyAPI) Close() {
	a.socket.Close()
	a.mu.Lock()
	a.closed = true
	for c := range a.conns {
		c.Close()
	}
	a.mu.Unlock()
	a.served.Wait()
}

func (a *EarlyAPI) accept() {
	for {
		conn, err := a.socket.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		if a.closed {
			conn.Close()
		} else {
			a.conns[conn] = true
			a.served.Go(func() { a.serve(conn) })
		}
		a.mu.Unlock()
	}
}

func (a *EarlyAPI) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		a.mu.Lock()
		delete(a.conns, conn)
		a.mu.Unlock()
	}()
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
