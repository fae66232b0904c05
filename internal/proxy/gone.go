//go:build unix

package proxy

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

type connKey struct{}

// ConnContext is for the server's field of the same name: it lets the proxy
// see whether a client left while its request waited in line with its body
// unread, which net/http cannot notice.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// hungUp reports whether the client has closed its side of an HTTP/1.1
// connection, however much of the request waits to be read before that end.
func hungUp(ctx context.Context) bool {
	sc, ok := ctx.Value(connKey{}).(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: hangUpEvents}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(hangUpEvents|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}

// isNetError tells the failures of a connection from those of a parser.
func isNetError(err error) bool {
	var ne net.Error
	var op *net.OpError
	return errors.As(err, &ne) || errors.As(err, &op) || errors.Is(err, net.ErrClosed)
}
