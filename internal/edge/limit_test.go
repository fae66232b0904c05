package edge

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// More connections come than there are places. One that waits for an answer
// keeps its place and the newcomer waits; one that is idle makes room, the
// longest first, over HTTP/1 and HTTP/2.
func TestConnectionsAreBounded(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	d := openFront(t, New(handlerFunc(func(c Client) {
		if c.Request().Target == "/long" {
			begun <- struct{}{}
			<-finish
		}
		say(c, "served")
	}), Options{Addr: "127.0.0.1:0", MaxConns: 2}))

	first, second := d.dial(), d.dial()
	for _, c := range []*caller{first, second} {
		c.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
	}
	third := d.dial()
	answered := make(chan error, 1)
	third.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() { _, _, err := third.answer("GET"); answered <- err }()
	select {
	case err := <-answered:
		t.Fatalf("a third connection was served beside two busy ones: %v", err)
	default:
	}
	finish <- struct{}{}
	finish <- struct{}{}
	if err := <-answered; err != nil {
		t.Errorf("third connection, when the others were idle: %v", err)
	}
	evicted := 0
	for _, c := range []*caller{first, second} {
		if _, body, err := c.answer("GET"); err != nil || body != "served" {
			t.Errorf("a busy connection was disturbed: %q, %v", body, err)
		}
	}
	// One of the two has made room; the other goes on.
	for _, c := range []*caller{first, second} {
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, _, err := c.answer("GET"); err != nil {
			evicted++
		}
	}
	if evicted != 1 {
		t.Errorf("%d connections made room for one", evicted)
	}
	if n := len(d.server.socket.slots.places); n > 2 {
		t.Errorf("%d places are taken", n)
	}
}

// With no descriptor left, the admin port spends its reserve, then its idle
// connections, and takes both back.
func TestTheReserve(t *testing.T) {
	lack := 0 // descriptors that somebody else has taken
	r := newReserve(2)
	l := &lease{slots: newSlots(4), reserve: r, done: make(chan struct{}),
		errors: newAcceptErrors("admin", zerolog.Nop(), nil)}
	l.accept = func() (net.Conn, error) {
		if lack > 0 {
			lack--
			return nil, os.NewSyscallError("accept4", syscall.EMFILE)
		}
		_, theirs := net.Pipe()
		return theirs, nil
	}
	var held []net.Conn
	for i := range 3 {
		lack = 1
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.(*Conn).rest()
		held = append(held, c)
		if want := max(0, 1-i); len(r.files) != want && i < 2 {
			t.Errorf("connection %d: %d descriptors are in reserve, want %d", i, len(r.files), want)
		}
	}
	if held[0].(*Conn).idleSince.Load() >= 0 {
		t.Error("without a reserve, the longest idle connection made no room")
	}
	for _, c := range held {
		_ = c.Close()
	}
	if len(r.files) != 2 {
		t.Errorf("in the end %d descriptors are in reserve, want 2", len(r.files))
	}
	r.close()
	r.refill()
	if len(r.files) != 0 {
		t.Error("a closed reserve is refilled")
	}
}
