package upstream

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/net/http2"
)

// unlock frees mu and tells those who wait without a goroutine what happened
// under it. Whoever wakes streams leaves mu this way.
func (c *h2Conn) unlock() {
	woken := c.woken
	c.woken = nil
	c.mu.Unlock()
	for _, w := range woken {
		w.News()
	}
}

func (c *h2Conn) writeLoop() {
	defer c.served.Done()
	for {
		select {
		case <-c.writer:
		case <-c.closed:
			return
		}
		// Who is ready to send does so now; it all goes out in one write.
		runtime.Gosched()
		c.mu.Lock()
		out := c.out
		c.out = batch{}
		c.batches++
		c.mu.Unlock()
		n, err := out.writeTo(c.nc, c.below)
		c.mu.Lock()
		if err != nil {
			c.leaving, c.broken, c.written = true, err, n
			_ = c.raw.SetReadDeadline(time.Now().Add(lastWords))
			c.mu.Unlock()
			return
		}
		c.room.Broadcast()
		c.mu.Unlock()
	}
}

func (c *h2Conn) readLoop() {
	defer c.served.Done()
	for {
		f, err := c.reader.ReadFrame()
		c.mu.Lock()
		if err == nil {
			c.beat()
			err = c.handle(f)
		}
		switch {
		case err != nil:
			c.broke(err)
		case c.out.Len() > floodBacklog:
			c.fail(errFlood)
		}
		over := c.err != nil
		c.unlock()
		if over {
			return
		}
	}
}

// readFailure keeps what the peer wrote out of an error.
func readFailure(err error) error {
	var ce http2.ConnectionError
	switch {
	case isEOF(err):
		return errNoAnswer
	case errors.As(err, &ce), errors.Is(err, http2.ErrFrameTooLarge):
		return fmt.Errorf("read frame: %w", err)
	}
	return err
}

// signal tells the writer that something waits.
func (c *h2Conn) signal() {
	select {
	case c.writer <- struct{}{}:
	default:
	}
}
