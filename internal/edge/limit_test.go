package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestConnectionsAreBounded opens more connections than there are places: the
// one too many is served as soon as another ends, over HTTP/1.1 and HTTP/2.
func TestConnectionsAreBounded(t *testing.T) {
	const places = 2
	s := New(handlerFunc(func(c Client) { say(c, "served") }),
		Options{Addr: "127.0.0.1:0", MaxConns: places})
	t.Cleanup(s.Close)
	addr, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ask := func(c net.Conn) string {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err.Error()
		}
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	first := dial()
	if got := ask(first); got != "served" {
		t.Fatalf("first connection: %q", got)
	}

	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	h2 := &http.Transport{Protocols: &only}
	res, err := (&http.Client{Transport: h2}).Get("http://" + addr.String() + "/")
	if err != nil || res.ProtoMajor != 2 {
		t.Fatalf("second connection, HTTP/2: %v, %v", res, err)
	}
	_ = res.Body.Close()

	third := dial()
	answer := make(chan string, 1)
	go func() { answer <- ask(third) }()
	if len(s.socket.slots) != places {
		t.Fatalf("%d places are taken, want %d", len(s.socket.slots), places)
	}
	select {
	case got := <-answer:
		t.Fatalf("a third connection was served beside two open ones: %q", got)
	default:
	}
	h2.CloseIdleConnections()
	if got := <-answer; got != "served" {
		t.Errorf("third connection, after the HTTP/2 one ended: %q", got)
	}
	_ = first.Close()
	fourth := dial()
	if got := ask(fourth); got != "served" {
		t.Errorf("fourth connection, after the first one ended: %q", got)
	}
}
