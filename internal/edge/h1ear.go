package edge

import (
	"errors"
	"os"
	"time"
)

// listen makes sure that x hears of its client's end.
func (c *h1conn) listen(x *h1exchange) {
	if !c.watched {
		c.openEar()
		return
	}
	if c.left.Load() {
		x.leftNow()
	}
}

// ear is a goroutine that reads one byte ahead while an exchange runs, for
// connections that nobody watches: its error is the client's end.
type ear struct {
	done chan struct{}
	got  [1]byte
	n    int
}

func (c *h1conn) openEar() {
	if c.ear != nil || len(c.in.bytes()) > 0 {
		return
	}
	e := &ear{done: make(chan struct{})}
	c.ear = e
	go func() {
		defer close(e.done)
		n, err := c.Conn.Conn.Read(e.got[:])
		e.n = n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.hangUp()
		}
	}()
}

// deafen ends what listen began.
func (c *h1conn) deafen() {
	e := c.ear
	if e == nil {
		return
	}
	c.ear = nil
	_ = c.SetReadDeadline(past)
	<-e.done
	_ = c.SetReadDeadline(time.Time{})
	c.in.put(e.got[:e.n])
}
