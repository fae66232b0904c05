package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/testkit"
)

// net/http's server of HTTP/2 stays for a second with a connection that broke
// the rules, closed or not; so does its HTTP/1 with an upload.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*http2serverConn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const patience = testkit.Patience

// bound opens a socket on a free port of the loopback.
func bound(t *testing.T) (*Server, string) {
	t.Helper()
	s := New(hello, Options{Addr: "127.0.0.1:0"})
	t.Cleanup(s.Close)
	return s, bind(t, s)
}

// bind opens a server's own socket, and returns its address.
func bind(t *testing.T, s *Server) string {
	t.Helper()
	addr, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

// hello greets.
var hello = handlerFunc(func(c Client) { say(c, "hello") })

// serve runs one Serve and returns what ends it.
func serve(t *testing.T, s *Server) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	var once sync.Once
	var err error
	end = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = end() })
	return end
}

// greet asks once on a connection of its own and returns what came.
func greet(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return ask(c)
}

func ask(c net.Conn) (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestDialsBetweenLeasesWait(t *testing.T) {
	s, addr := bound(t)

	// Before the first lease, the socket is bound and takes no one.
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("before the first lease: %v", err)
	}
	defer first.Close()
	end := serve(t, s)
	if got, err := ask(first); err != nil || !strings.HasSuffix(got, "hello") {
		t.Fatalf("the dial before the first lease got %q, %v", got, err)
	}

	// The lease ends; a stream begun under it goes on, a new dial waits.
	if err := end(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Serve returned %v, want the context's error", err)
	}
	waiting, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("between two leases: %v", err)
	}
	defer waiting.Close()

	serve(t, s)
	if got, err := ask(waiting); err != nil || !strings.HasSuffix(got, "hello") {
		t.Fatalf("the dial between two leases got %q, %v", got, err)
	}
}

// A connection belongs to the server: it answers on, whoever leases.
func TestConnectionsOutliveTheLease(t *testing.T) {
	s, addr := bound(t)
	end := serve(t, s)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, when := range []string{"under the lease", "after the lease"} {
		if when == "after the lease" {
			_ = end()
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		b := make([]byte, 512)
		if n, err := c.Read(b); err != nil || !strings.Contains(string(b[:n]), "200 OK") {
			t.Fatalf("%s: read %q, %v", when, b[:n], err)
		}
	}
}

// However often the socket changes hands, every client is answered.
func TestNobodyIsLostWhileLeasesChange(t *testing.T) {
	s, addr := bound(t)
	const clients, each = 8, 60
	served := make(chan struct{}, clients*each)
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for range each {
				if got, err := greet(addr); err != nil || !strings.HasSuffix(got, "hello") {
					t.Errorf("a client got %q, %v", got, err)
					return
				}
				served <- struct{}{}
			}
		})
	}
	answered := make(chan struct{})
	go func() { asking.Wait(); close(answered) }()
	leases := 0
	for over := false; !over; leases++ {
		end := serve(t, s)
		select {
		case <-answered:
			over = true
		case <-served:
		}
		if err := end(); !errors.Is(err, context.Canceled) {
			t.Fatalf("lease %d ended with %v", leases, err)
		}
	}
	t.Logf("%d clients were answered over %d leases", clients*each, leases)
	if leases < 10 {
		t.Errorf("only %d leases: the test did not test", leases)
	}
}

// The lease ends in the moment in which a connection comes: whichever is first,
// the connection is taken now or by the next lease.
func TestNoConnectionIsLostInTheMomentOfTheEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const rounds = 200
	for i := range rounds {
		if err := ln.(*net.TCPListener).SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		l := &lease{TCPListener: ln.(*net.TCPListener), accept: ln.Accept, slots: newSlots(2), done: make(chan struct{})}
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var closing sync.WaitGroup
		closing.Go(func() { _ = l.Close() })
		taken, err := l.Accept()
		closing.Wait()
		if err != nil { // still in the kernel's queue, for the next lease
			if !errors.Is(err, net.ErrClosed) {
				t.Fatalf("round %d: Accept says %v", i, err)
			}
			_ = ln.(*net.TCPListener).SetDeadline(time.Time{})
			if taken, err = ln.Accept(); err != nil {
				t.Fatalf("round %d: the connection was lost: %v", i, err)
			}
		}
		if taken.RemoteAddr().String() != c.LocalAddr().String() {
			t.Fatalf("round %d: the connection was lost: the next one is another's", i)
		}
		_, _ = taken.Close(), c.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("round %d: after the end Accept says %v", i, err)
		}
	}
}

func TestBindErrors(t *testing.T) {
	_, taken := bound(t)
	for _, tc := range []struct{ name, addr, want string }{
		{"in use", taken, "address already in use"},
		{"not ours", "192.0.2.1:8080", "cannot assign requested address"},
		{"no port", "127.0.0.1", "missing port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New(hello, Options{Addr: tc.addr})
			defer s.Close()
			_, err := s.Bind()
			if err == nil || !strings.HasPrefix(err.Error(), "listen on "+tc.addr+": ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Bind says %v, want the address and %q", err, tc.want)
			}
			if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Serve says %v, want %q", err, tc.want)
			}
		})
	}
}

// A bind that failed can be tried again: nothing is remembered of it.
func TestBindAfterTheAddressIsFree(t *testing.T) {
	holder, addr := bound(t)
	s := New(hello, Options{Addr: addr})
	defer s.Close()
	if _, err := s.Bind(); err == nil {
		t.Fatal("two sockets on one address")
	}
	holder.Close()
	if _, err := s.Bind(); err != nil {
		t.Fatalf("after the address became free: %v", err)
	}
	if again, err := s.Bind(); err != nil || again.String() != addr {
		t.Errorf("a second Bind gives %v, %v; want the same socket", again, err)
	}
}

func TestCloseIsForGood(t *testing.T) {
	s, addr := bound(t)
	end := serve(t, s)
	if _, err := greet(addr); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if err := end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := s.Bind(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Bind after Close says %v", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a dial after Close was taken")
	}
}

// A server that was shut down must not look like a failure of its user, which
// would be restarted until the process ends.
func TestServeOfAServerThatWasShutDownWaits(t *testing.T) {
	for _, when := range []string{"before", "during"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := bound(t)
				ctx, cancel := context.WithCancel(t.Context())
				if when == "before" {
					_ = s.Shutdown(ctx)
				}
				done := make(chan error, 1)
				go func() { done <- s.Serve(ctx) }()
				if when == "during" {
					_ = s.Shutdown(ctx)
				}
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("Serve returned %v before its context ended", err)
				default:
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Serve returned %v", err)
				}
			})
		})
	}
}

// A lease that has ended reaches no further: the deadline that ends its Accept
// is set before the next lease lifts it.
func TestAnEndedLeaseLeavesTheNextAlone(t *testing.T) {
	s, addr := bound(t)
	const rounds = 3000
	for i := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		first, end, err := s.socket.lease(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for { // as a server does, up to the end; what comes meanwhile is nobody's here
			if _, err := first.Accept(); errors.Is(err, net.ErrClosed) {
				break
			}
		}
		end()
		second, end, err := s.socket.lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		taken, err := second.Accept()
		if err != nil {
			t.Fatalf("round %d: the next lease's Accept says %v", i, err)
		}
		_, _ = taken.Close(), c.Close()
		end()
	}
}
