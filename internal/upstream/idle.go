package upstream

import "time"

// What HTTP/1.1 connections may wait without a request: each for idleTimeout,
// and maxIdle of them, so that a burst leaves no crowd of sockets behind.
const (
	idleTimeout = 90 * time.Second
	maxIdle     = 256
)

// release takes back an HTTP/1.1 connection whose exchange ended cleanly.
func (p *Pool) release(c *h1Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(c)
	if len(p.line) > 0 {
		p.serve()
	}
}

// keep makes an open connection an idle one, if there is room. The caller
// holds mu.
func (p *Pool) keep(c *h1Conn) {
	if p.closed || len(p.idle) == maxIdle {
		delete(p.open, c)
		c.close()
		return
	}
	c.idleSince = time.Now()
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(idleTimeout, p.reap)
	}
}

// discard is for an HTTP/1.1 connection that cannot be used again.
func (p *Pool) discard(c *h1Conn) {
	c.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// reap closes the connections that have been idle for too long. The oldest
// stand first.
func (p *Pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].idleSince) >= idleTimeout {
		p.idle[n].close()
		delete(p.open, p.idle[n])
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
	if len(p.idle) == 0 {
		p.reaper = nil
		return
	}
	p.reaper = time.AfterFunc(idleTimeout-time.Since(p.idle[0].idleSince), p.reap)
}
