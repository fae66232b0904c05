//go:build unix

package edge

import "golang.org/x/sys/unix"

// hungUp reports whether the client has closed its side of the connection,
// however much stands unread before that end. A connection without a socket
// cannot tell.
func (c *Conn) hungUp() bool {
	rc, err := c.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: hangUpEvents}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(hangUpEvents|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}

// readable reports whether something of the client's stands unread in the
// socket.
func (c *Conn) readable() bool {
	rc, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = rc.Control(func(fd uintptr) {
		n, _, _ = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return n > 0
}
