package edge

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

const question = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// idlers are connections that have had an answer each and have no goroutine any
// more.
func idlers(t *testing.T, n int, o Options) (*doorway, []*caller) {
	t.Helper()
	o.Log, o.Addr = zerolog.Nop(), "127.0.0.1:0"
	d := openFront(t, New(handlerFunc(func(c Client) { say(c, "here") }), o))
	all := make([]*caller, n)
	for i := range all {
		all[i] = d.dial()
		all[i].send(question)
		all[i].here()
	}
	d.nobodyServes()
	return d, all
}

func (c *caller) here() {
	c.t.Helper()
	if _, text, err := c.answer("GET"); text != "here" || err != nil {
		c.t.Fatalf("got %q, %v", text, err)
	}
}

// gone reads the end of the connection.
func (c *caller) gone() {
	c.t.Helper()
	if rest, err := c.rest(); rest != "" || err != nil {
		c.t.Errorf("the connection ends with %q, %v", rest, err)
	}
}

func (d *doorway) open() int {
	e := d.server.engine.(*engine)
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// An idle connection has no goroutine, and is as good as one that has: requests
// are answered, whole, in pieces or many at once, and its end is seen.
func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	d, all := idlers(t, 60, Options{})
	for i, c := range all {
		switch i % 3 {
		case 0:
			c.send(question)
		case 1:
			c.send(question[:1])
			c.send(question[1:])
		case 2:
			c.send(question + question)
			c.here()
		}
		c.here()
	}
	for i, c := range all {
		switch i % 3 {
		case 0:
			_ = c.Close()
		case 1:
			_ = c.CloseWrite()
			c.gone()
		case 2:
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
	testkit.Eventually(t, "all connections are forgotten", func() bool { return d.open() == 0 })
}

// Who says nothing yet, or half a head, has no goroutine either, and is served all
// the same: with the rest of its head, in HTTP/2, or with 408 when its time is over.
func TestWhoIsSlowHasNoGoroutine(t *testing.T) {
	d, _ := idlers(t, 1, Options{})
	silent, preface, half, late := d.dial(), d.dial(), d.dial(), d.dial()
	preface.send(http2.ClientPreface[:1]) // or the beginning of POST
	half.send(question[:9])
	late.send(question[:20])
	d.nobodyServes()
	silent.send(question)
	silent.here()
	preface.send(http2.ClientPreface[1:])
	f := http2.NewFramer(preface, preface.br)
	_ = f.WriteSettings()
	if frame, err := f.ReadFrame(); err != nil || frame.Header().Type != http2.FrameSettings {
		t.Errorf("HTTP/2 begins with %v, %v", frame, err)
	}
	half.send(question[9:12])
	d.nobodyServes()
	half.send(question[12:] + question)
	half.here()
	half.here()
	e := d.server.engine.(*engine)
	e.mu.Lock()
	for _, c := range e.conns {
		if c.RemoteAddr().String() == late.LocalAddr().String() && c.lies.Load() != 0 {
			c.headBy = 1
			c.lies.Store(1) // so that who takes it over sees that
		}
	}
	e.mu.Unlock()
	if res, text, err := late.answer("GET"); err != nil || res.StatusCode != http.StatusRequestTimeout || text != slowHead.Reason {
		t.Errorf("who is late gets %v %q, %v", res, text, err)
	}
}

// nobodyServes waits until no connection has a goroutine.
func (d *doorway) nobodyServes() {
	d.t.Helper()
	testkit.Eventually(d.t, "no connection has a goroutine", func() bool {
		return !testkit.Stands("(*h1conn).serve")
	})
}

// The end of its time, a newcomer without a place and a door that closes end an
// idle connection that has no goroutine.
func TestIdleConnectionsEnd(t *testing.T) {
	t.Run("their time is over", func(t *testing.T) {
		d, all := idlers(t, 10, Options{})
		e := d.server.engine.(*engine)
		e.mu.Lock()
		for _, c := range e.conns {
			if c.lies.Load() != 0 {
				c.lies.Store(1)
			}
		}
		e.mu.Unlock()
		for _, c := range all {
			c.gone()
		}
		testkit.Eventually(t, "all connections are forgotten", func() bool { return d.open() == 0 })
	})
	t.Run("a newcomer", func(t *testing.T) {
		d, all := idlers(t, 2, Options{MaxConns: 2})
		newcomer := d.dial()
		newcomer.send(question)
		newcomer.here()
		evicted := 0
		for _, c := range all {
			c.send(question)
			if _, _, err := c.answer("GET"); err != nil {
				evicted++
			}
		}
		if evicted != 1 {
			t.Errorf("%d idle connections made room, want 1", evicted)
		}
	})
	t.Run("the door closes", func(t *testing.T) {
		d, all := idlers(t, 10, Options{})
		if err := d.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for _, c := range all {
			c.gone()
		}
	})
}

// A request that crosses the moment in which its connection lies down, or is
// closed as idle, is answered or refused by the end of the connection: it is
// never forgotten.
func TestRequestsCrossTheRest(t *testing.T) {
	d, _ := idlers(t, 1, Options{})
	e := d.server.engine.(*engine)
	for range 200 {
		c := d.dial()
		c.send(question)
		c.here()
		var conn *h1conn
		testkit.Eventually(t, "the connection is idle", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, h := range e.conns {
				if h.RemoteAddr().String() == c.LocalAddr().String() && h.idleSince.Load() > 0 {
					conn = h
				}
			}
			return conn != nil
		})
		go func() { _ = conn.SetReadDeadline(past) }() // it lies down now
		c.send(question)
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatalf("a request that crossed the rest got %v", err)
		}
		if text, err := io.ReadAll(res.Body); string(text) != "here" || err != nil {
			t.Fatalf("got %q, %v", text, err)
		}
		_ = c.Close()
	}
}
