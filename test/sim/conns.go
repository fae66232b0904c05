package sim

import (
	"net"
	"sync"
)

// conns are the connections of an API that speaks its protocol by hand. Each
// is served by a goroutine of its own and closed when that returns.
type conns struct {
	socket net.Listener
	serve  func(net.Conn)

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	served sync.WaitGroup
}

// accept begins to serve what comes to socket, which it owns from here on.
func accept(socket net.Listener, serve func(net.Conn)) *conns {
	c := &conns{socket: socket, serve: serve, open: map[net.Conn]bool{}}
	c.served.Go(c.accept)
	return c
}

// Close breaks every connection and waits for all goroutines.
func (c *conns) Close() {
	c.socket.Close()
	c.mu.Lock()
	c.closed = true
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.served.Wait()
}

func (c *conns) accept() {
	for {
		conn, err := c.socket.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		if c.closed {
			conn.Close()
		} else {
			c.open[conn] = true
			c.served.Go(func() { c.attend(conn) })
		}
		c.mu.Unlock()
	}
}

func (c *conns) attend(conn net.Conn) {
	defer func() {
		conn.Close()
		c.mu.Lock()
		delete(c.open, conn)
		c.mu.Unlock()
	}()
	c.serve(conn)
}
