//go:build unix

package upstream

import (
	"net"
	"syscall"
)

// quiet reports that a socket is open with nothing to read. An idle connection
// with bytes or an end waiting on it must not carry a request.
func quiet(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true // not a socket: a test's pipe
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	still := false
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		still = err == syscall.EAGAIN
	})
	return err == nil && still
}
