package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// engines are the two ways to serve HTTP/1: what one promises, both keep.
var engines = []struct {
	name string
	make func(Handler, Options) *Server
}{{"own", New}, {"nethttp", newNetHTTP}}

// onEach runs a test on both engines.
func onEach(t *testing.T, run func(t *testing.T, open func(handlerFunc) *doorway)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			run(t, func(h handlerFunc) *doorway { return openDoor(t, e.make(h, Options{})) })
		})
	}
}

type handlerFunc func(Client)

func (f handlerFunc) ServeExchange(c Client) bool { f(c); return true }

// doorway is a server on loopback.
type doorway struct {
	t      *testing.T
	server *Server
	addr   string
}

func openDoor(t *testing.T, s *Server) *doorway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeListener(ctx, ln) }()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-done
	})
	return &doorway{t: t, server: s, addr: ln.Addr().String()}
}

// openFront is openDoor on the server's own socket, whose bounds hold there.
func openFront(t *testing.T, s *Server) *doorway {
	t.Helper()
	t.Cleanup(s.Close)
	addr := bind(t, s)
	serve(t, s)
	return &doorway{t: t, server: s, addr: addr}
}

// caller is a client that speaks by hand.
type caller struct {
	*net.TCPConn
	t  *testing.T
	br *bufio.Reader
}

func (d *doorway) dial() *caller {
	d.t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &caller{c.(*net.TCPConn), d.t, bufio.NewReader(c)}
}

func (c *caller) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// answer reads a whole answer to a request with the method.
func (c *caller) answer(method string) (*http.Response, string, error) {
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// rest is all that comes until the connection ends.
func (c *caller) rest() (string, error) {
	b, err := io.ReadAll(c.br)
	return string(b), err
}

// say answers with a text of known length.
func say(c Client, text string) {
	if r := c.Request().Refusal; r != nil {
		c.Respond(Head{Status: r.Status, ContentLength: int64(len(r.Reason)), Header: headers.Fields{{Name: "Content-Type", Value: "text/plain"}}})
		_, _ = io.WriteString(c, r.Reason)
		_ = c.Finish(nil)
		return
	}
	c.Respond(Head{Status: 200, ContentLength: int64(len(text))})
	_, _ = io.WriteString(c, text)
	_ = c.Finish(nil)
}

// echo answers with what it read of the request.
func echo(c Client) {
	r := c.Request()
	if r.Refusal != nil {
		say(c, "")
		return
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			say(c, "error: "+err.Error())
			return
		}
	}
	say(c, fmt.Sprintf("%s %s %d %d %q", r.Method, r.Target, r.Proto, r.ContentLength, body))
}

// cleartextHTTP2 is a transport that speaks nothing else.
func cleartextHTTP2() *http.Transport {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: &p}
}
