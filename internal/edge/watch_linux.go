package edge

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher learns which clients have closed their side, however much stands
// unread before that end, with one goroutine for all connections: an epoll of
// its own, in which nothing but that end is asked for, waits in Go's.
type watcher struct {
	file *os.File
	raw  syscall.RawConn
	find func(key uint64) *h1conn // nil for one that is forgotten
}

// newWatcher begins to watch; its goroutine is in running until close. It is
// nil when the system has no room for it: then nobody watches.
func newWatcher(find func(key uint64) *h1conn, running *sync.WaitGroup) *watcher {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "epoll"), find: find}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		_ = w.file.Close()
		return nil
	}
	running.Go(w.run)
	return w
}

// add watches a connection for as long as find knows it. It is false when it
// cannot be watched.
func (w *watcher) add(c *h1conn) bool {
	return w != nil && w.control(unix.EPOLL_CTL_ADD, c, unix.EPOLLRDHUP|unix.EPOLLET) == nil
}

// arm asks for what an idle connection receives as well, or no more.
func (w *watcher) arm(c *h1conn, idle bool) bool {
	events := uint32(unix.EPOLLRDHUP | unix.EPOLLET)
	if idle {
		events |= unix.EPOLLIN
	}
	return w.control(unix.EPOLL_CTL_MOD, c, events) == nil
}

// control changes what the kernel tells of a connection.
func (w *watcher) control(op int, c *h1conn, events uint32) error {
	err := errNoWatcher
	_ = c.in.raw.Control(func(fd uintptr) {
		_ = w.raw.Control(func(epoll uintptr) {
			err = unix.EpollCtl(int(epoll), op, int(fd), &unix.EpollEvent{
				Events: events, Fd: int32(uint32(c.key)), Pad: int32(uint32(c.key >> 32)),
			})
		})
	})
	return err
}

func (w *watcher) close() {
	if w != nil {
		_ = w.file.Close()
	}
}

func (w *watcher) run() {
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		if err := w.raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		}); err != nil {
			return
		}
		for _, ev := range events[:n] {
			c := w.find(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32)
			switch {
			case c == nil:
			case ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0:
				c.breaks()
			case ev.Events&^unix.EPOLLIN != 0:
				c.hangUp()
			default:
				c.stirs()
			}
		}
	}
}
