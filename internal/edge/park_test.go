package edge

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// parking serves each exchange by parking it behind the head of its answer.
type parking struct{ parked chan Parkable }

func (p parking) ServeExchange(c Client) bool {
	c.Respond(Head{Status: 200, ContentLength: -1})
	_ = c.Flush()
	client := c.(Parkable)
	if !client.Park() {
		return true
	}
	p.parked <- client
	return false
}

func openParking(t *testing.T) (*doorway, chan Parkable) {
	p := parking{make(chan Parkable, 1)}
	return openDoor(t, New(p, Options{Log: zerolog.Nop()})), p.parked
}

// What a full client could not take goes out in order with the next Flush, is
// counted once, and nothing gets past it.
func TestAParkedClientThatIsFull(t *testing.T) {
	d, parked := openParking(t)
	c := d.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	client := <-parked
	piece := bytes.Repeat([]byte("0123456789abcdef"), 64)
	sent, counted, all := 0, 0, true
	for all {
		var n int
		n, all = client.TryWrite(piece)
		counted += n
		sent += len(piece)
	}
	if n, all := client.TryWrite(piece); n != 0 || all {
		t.Fatalf("something got past what waits: %d, %v", n, all)
	}
	if counted >= sent || counted < sent-len(piece) {
		t.Fatalf("%d bytes were counted of %d", counted, sent)
	}
	client.Resume(func() bool {
		if err := client.Flush(); err != nil {
			t.Error(err)
		}
		_, _ = client.Write([]byte("the end"))
		_ = client.Finish(nil)
		return true
	})
	_, body, err := c.answer("GET")
	if want := strings.Repeat(string(piece), sent/len(piece)) + "the end"; err != nil || body != want {
		t.Fatalf("got %d bytes, %v; want %d", len(body), err, len(want))
	}
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	client = <-parked
	client.Resume(func() bool { _ = client.Finish(nil); return true })
	if _, body, err := c.answer("GET"); body != "" || err != nil {
		t.Errorf("the next answer is %q, %v", body, err)
	}
	if rest, err := c.rest(); rest != "" || err != nil {
		t.Errorf("behind Connection: close came %q, %v", rest, err)
	}
}

// A client that leaves, and a door that closes, end the context of an exchange
// that has no goroutine to find out.
func TestAParkedClientThatLeaves(t *testing.T) {
	for name, leave := range map[string]func(*doorway, *caller){
		"client": func(_ *doorway, c *caller) { _ = c.Close() },
		"half":   func(_ *doorway, c *caller) { _ = c.CloseWrite() },
		"door":   func(d *doorway, _ *caller) { d.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			d, parked := openParking(t)
			c := d.dial()
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			client := <-parked
			leave(d, c)
			<-client.Context().Done()
			client.Abort()
			if n, all := client.TryWrite([]byte("late")); n != 0 || all {
				t.Errorf("it took %d, %v", n, all)
			}
			over := make(chan struct{})
			client.Resume(func() bool { defer close(over); return true })
			<-over
		})
	}
}

// A bug in what a parked exchange goes on with ends its connection, and no more.
func TestABugInAParkedExchange(t *testing.T) {
	d, parked := openParking(t)
	c := d.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	(<-parked).Resume(func() bool { panic("canary") })
	if _, _, err := c.answer("GET"); err == nil {
		t.Error("a broken answer looks whole")
	}
	c = d.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	client := <-parked
	client.Resume(func() bool { _ = client.Finish(nil); return true })
	if _, _, err := c.answer("GET"); err != nil {
		t.Error(err)
	}
}
