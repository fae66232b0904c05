package edge

import (
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
	lent *[intakeBuffer]byte // the pool's, below buf; nil when buf is our own
	buf  []byte
	r, w int
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
func (in *intake) bytes() []byte { return in.buf[in.r:in.w] }

// take drops the first n of them.
func (in *intake) take(n int) {
	in.r += n
	if in.r == in.w {
		in.drop()
	}
}

func (in *intake) drop() {
	if in.lent != nil {
		intakeBuffers.Put(in.lent)
	}
	in.lent, in.buf, in.r, in.w = nil, nil, 0, 0
}

// fill waits until more has come.
func (in *intake) fill() error {
	if in.raw == nil {
		in.room()
		n, err := in.conn.Conn.Read(in.buf[in.w:])
		in.w += n
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
	in.w += f.n
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
		n, err := syscall.Read(int(fd), in.buf[in.w:])
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
	if len(in.buf)-in.w >= intakeRoom {
		return
	}
	unread := in.w - in.r
	var lent *[intakeBuffer]byte
	var b []byte
	if unread+intakeRoom <= intakeBuffer {
		lent = intakeBuffers.Get().(*[intakeBuffer]byte)
		b = lent[:]
	} else {
		b = make([]byte, 2*unread+intakeRoom)
	}
	copy(b, in.bytes())
	in.drop()
	in.lent, in.buf, in.w = lent, b, unread
}

// rest gives the buffer back, and keeps what is in it.
func (in *intake) rest() {
	if in.r == in.w {
		in.drop()
		return
	}
	if in.lent == nil {
		return
	}
	kept := append([]byte(nil), in.bytes()...)
	in.drop()
	in.buf, in.w = kept, len(kept)
}

// Read gives what has come before it waits for more. A large p is filled from
// the socket without a detour.
func (in *intake) Read(p []byte) (int, error) {
	if in.r == in.w {
		if len(p) >= intakeRoom {
			return in.conn.Conn.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.bytes())
	in.take(n)
	return n, nil
}

// put puts p in front of what will come; the buffer is empty.
func (in *intake) put(p []byte) {
	if len(p) > 0 {
		in.room()
		in.w += copy(in.buf[in.w:], p)
	}
}
