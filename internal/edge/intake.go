package edge

import (
	"bytes"
	"io"
	"sync"
	"syscall"
)

// intake reads a connection through a buffer that it borrows. While it waits
// for the client it holds no more memory than what the client has sent and
// nobody has taken: nothing on an idle connection, a handful of bytes of a head
// that comes slowly. One goroutine at a time uses it.
type intake struct {
	conn *Conn
	raw  syscall.RawConn     // nil without a socket
	lent *[intakeBuffer]byte // the pool's, below unread; nil when that is our own
	// unread has come and was not taken; behind it is room for more.
	unread []byte
}

const (
	intakeBuffer = 16 << 10
	// intakeRoom is the least that a read from the socket has room for.
	intakeRoom = 2 << 10
)

var intakeBuffers = sync.Pool{New: func() any { return new([intakeBuffer]byte) }}

func (in *intake) init(c *Conn) {
	in.conn = c
	if raw, err := c.SyscallConn(); err == nil {
		in.raw = raw
	}
}

// bytes is what has come and was not taken.
func (in *intake) bytes() []byte { return in.unread }

// take drops the first n of them.
func (in *intake) take(n int) {
	in.unread = in.unread[n:]
	if len(in.unread) == 0 {
		in.drop()
	}
}

func (in *intake) drop() {
	if in.lent != nil {
		intakeBuffers.Put(in.lent)
	}
	in.lent, in.unread = nil, nil
}

// fill waits until more has come.
func (in *intake) fill() error {
	if in.raw == nil {
		in.room()
		n, err := in.conn.Conn.Read(in.free())
		in.came(n)
		if n > 0 {
			return nil
		}
		in.rest()
		return err
	}
	f := fillings.Get().(*filling)
	defer f.free()
	f.in = in
	err := in.raw.Read(f.try)
	if err == nil {
		err = f.err
	}
	if err != nil {
		in.rest()
		return err
	}
	in.came(f.n)
	return nil
}

// filling is one read from the socket, borrowed for as long as somebody waits
// for it: a connection without a goroutine has none.
type filling struct {
	in  *intake
	try func(fd uintptr) bool // tryRead, made once
	n   int
	err error
}

var fillings = sync.Pool{New: func() any {
	f := &filling{}
	f.try = f.tryRead
	return f
}}

func (f *filling) free() {
	f.in, f.n, f.err = nil, 0, nil
	fillings.Put(f)
}

// tryRead reads what the socket has; it is false when that is nothing, and the
// buffer goes back for as long as the wait takes.
func (f *filling) tryRead(fd uintptr) bool {
	in := f.in
	in.room()
	for {
		n, err := syscall.Read(int(fd), in.free())
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			in.rest()
			return false
		case err != nil:
			f.err = err
		case n == 0:
			f.err = io.EOF
		default:
			f.n = n
		}
		return true
	}
}

// room makes room for a read.
func (in *intake) room() {
	if len(in.free()) >= intakeRoom {
		return
	}
	unread := len(in.unread)
	var lent *[intakeBuffer]byte
	var b []byte
	if unread+intakeRoom <= intakeBuffer {
		lent = intakeBuffers.Get().(*[intakeBuffer]byte)
		b = lent[:]
	} else {
		b = make([]byte, 2*unread+intakeRoom)
	}
	copy(b, in.unread)
	in.drop()
	in.lent, in.unread = lent, b[:unread]
}

// free is the room behind what is unread, came what has come there.
func (in *intake) free() []byte { return in.unread[len(in.unread):cap(in.unread)] }
func (in *intake) came(n int)   { in.unread = in.unread[:len(in.unread)+n] }

// rest gives the buffer back, and keeps what is in it.
func (in *intake) rest() {
	if len(in.unread) == 0 {
		in.drop()
		return
	}
	if in.lent == nil {
		return
	}
	kept := bytes.Clone(in.unread)
	in.drop()
	in.unread = kept
}

// Read gives what has come before it waits for more. A large p is filled from
// the socket without a detour.
func (in *intake) Read(p []byte) (int, error) {
	if len(in.unread) == 0 {
		if len(p) >= intakeRoom {
			return in.conn.Conn.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.unread)
	in.take(n)
	return n, nil
}

// put puts p in front of what will come; the buffer is empty.
func (in *intake) put(p []byte) {
	if len(p) > 0 {
		in.room()
		in.unread = append(in.unread, p...)
	}
}
