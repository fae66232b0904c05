package tailnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxHeaderBytes bounds the head of an answer.
const maxHeaderBytes = 64 << 10

// errNotASocket: something else lies where tailscaled's socket should be.
var errNotASocket = errors.New("not a socket")

// errReplaced ends a conversation with a daemon whose socket has been replaced:
// that daemon may live on and answer for ever, but nobody finds it any more.
var errReplaced = errors.New("another socket lies at the path now")

// place is the path of tailscaled's socket and what lies there. It is safe for
// concurrent use.
type place struct {
	path string

	mu      sync.Mutex
	found   fs.FileInfo             // nil when nothing could be seen
	changes int                     // how often something else was found
	leave   context.CancelCauseFunc // ends the conversation on the bus, if there is one
}

// look names what lies at the path now; another socket gets another name. Each
// name has connections of its own, so that no question reaches a daemon that
// was at the path before.
func (p *place) look() string {
	info, err := os.Stat(p.path)
	if err != nil {
		info = nil // the dial will say why
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !sameFile(p.found, info) {
		p.found = info
		p.changes++
		if p.leave != nil {
			p.leave(errReplaced)
		}
	}
	return "tailscaled-" + strconv.Itoa(p.changes)
}

// whileHere calls leave when something else is found at the path; nil calls
// nobody.
func (p *place) whileHere(leave context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave = leave
}

// sameFile compares the time too: the number of an inode may be given again.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

// newTransport dials the path, whatever name the URL has.
func newTransport(path string) *http.Transport {
	var d net.Dialer
	return &http.Transport{
		MaxIdleConns:           2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, fmt.Errorf("reach tailscaled: %w", dialCause(path, err))
			}
			return c, nil
		},
	}
}

// dialCause tells a daemon that has died, or that is not for us, from what never
// was one: the system refuses a connection to a directory, or to a file, in the
// same words.
func dialCause(path string, err error) error {
	if !isAny(err, syscall.ECONNREFUSED, syscall.EACCES) {
		return err
	}
	info, statErr := os.Stat(path)
	if statErr != nil || info.Mode().Type() == fs.ModeSocket {
		return err
	}
	what := "a special file"
	switch {
	case info.IsDir():
		what = "a directory"
	case info.Mode().IsRegular():
		what = "a regular file"
	}
	return fmt.Errorf("%s is %s, %w", path, what, errNotASocket)
}
