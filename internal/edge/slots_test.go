package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	get       = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings  = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // an empty SETTINGS frame
)

// A place that is not given back is lost for good, and with enough of them the
// port: so every way in which a connection can end gives it back.
func TestEveryEndOfAConnectionGivesItsPlaceBack(t *testing.T) {
	answer := func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = http.ReadResponse(bufio.NewReader(c), nil)
	}
	drain := func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, c)
	}
	for _, tc := range []struct {
		name string
		live func(t *testing.T, c *net.TCPConn)
	}{
		{"nothing said", func(*testing.T, *net.TCPConn) {}},
		{"reset without a word", func(_ *testing.T, c *net.TCPConn) { _ = c.SetLinger(0) }},
		{"half a head", func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, get[:10]) }},
		{"no HTTP", func(_ *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, "\x16\x03\x01 no request at all\r\n\r\n")
			drain(c)
		}},
		{"an answer", func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, get); answer(c) }},
		{"an answer that nobody reads", func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, get); _ = c.SetLinger(0) }},
		{"a handler that aborts", func(_ *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, strings.Replace(get, "/ ", "/abort ", 1))
			drain(c)
		}},
		{"an upgrade that is asked for", func(_ *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
			answer(c)
		}},
		{"half an HTTP/2 h2Preface", func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, h2Preface[:20]) }},
		{"HTTP/2 without settings", func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, h2Preface) }},
		{"HTTP/2 that breaks its rules", func(_ *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, h2Preface+settings+strings.Repeat("\xff", 64))
			frame(t, c)
		}},
		{"HTTP/2 that is reset", func(t *testing.T, c *net.TCPConn) {
			_, _ = io.WriteString(c, h2Preface+settings)
			frame(t, c)
			_ = c.SetLinger(0)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const places = 3
			s := everything(t, places)
			addr := bind(t, s)
			serve(t, s)
			// More than there are places: none may be kept.
			for range 2 * places {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				tc.live(t, c.(*net.TCPConn))
				_ = c.Close()
			}
			if got, err := greet(addr); err != nil || !strings.HasSuffix(got, "served") {
				t.Errorf("after %d of them: %q, %v", 2*places, got, err)
			}
		})
	}
}

// frame reads the head of an HTTP/2 frame.
func frame(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 9)); err != nil {
		t.Errorf("no frame came: %v", err)
	}
}

// everything is a server that answers, and aborts where that is asked for.
func everything(t *testing.T, places int) *Server {
	t.Helper()
	s := New(handlerFunc(func(c Client) {
		if c.Request().Target != "/abort" {
			say(c, "served")
		}
	}), Options{Addr: "127.0.0.1:0", MaxConns: places})
	t.Cleanup(func() {
		s.Close()
		// An HTTP/2 connection that broke the rules lingers after its goodbye.
		for range cap(s.socket.slots.places) {
			s.socket.slots.places <- struct{}{}
		}
	})
	return s
}

// Leases come and go while connections do; in the end every place is free.
func TestPlacesOutliveLeases(t *testing.T) {
	s := everything(t, 4)
	addr := bind(t, s)
	for range 50 {
		end := serve(t, s)
		if got, err := greet(addr); err != nil || !strings.HasSuffix(got, "served") {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = end()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); len(s.socket.slots.places) > 0; {
		if time.Now().After(late) {
			t.Fatalf("%d places are still taken", len(s.socket.slots.places))
		}
	}
}
