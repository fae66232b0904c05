package edge

import (
	"syscall"
	"time"
)

// Park frees what only a goroutine needs. The socket must be one that tells
// when it is full, or a TryWrite would wait.
func (x *h1exchange) Park() bool {
	if x.c.in.raw == nil || !x.answer.begun || x.body != nil && !x.body.ended() {
		return false
	}
	x.begin, x.body, x.answer.head = nil, nil, nil
	x.forgetWaiting()
	_ = x.SetWriteDeadline(time.Time{}) // or it would end a TryWrite that need not wait
	return true
}

// TryWrite sends content as far as the socket takes it at once.
func (x *h1exchange) TryWrite(p []byte) (n int, all bool) {
	x.writing.Lock()
	defer x.writing.Unlock()
	a := &x.answer
	if !a.begun || !a.content || len(x.unsent) > 0 || a.declared && int64(len(p)) > a.left {
		return 0, false
	}
	out := outputs.Get().(*output)
	defer out.free()
	head, tail := 0, 0
	if a.chunked {
		out.b = appendChunkSize(out.b, len(p))
		head, tail = len(out.b), len(crlf)
	}
	out.b = append(out.b, p...)
	if a.chunked {
		out.b = append(out.b, crlf...)
	}
	a.left -= int64(len(p))
	sent := out.try(x.c.in.raw)
	if sent == len(out.b) {
		return len(p), true
	}
	x.unsent = append([]byte(nil), out.b[sent:]...)
	return min(max(sent-head, 0), len(out.b)-head-tail), false
}

// Resume gives the exchange a goroutine again.
func (x *h1exchange) Resume(goOn func() bool) { go x.c.resume(x, goOn) }

// settle sends what TryWrite has left behind. The caller holds writing.
func (x *h1exchange) settle() error {
	if len(x.unsent) == 0 {
		return nil
	}
	b := x.unsent
	x.unsent = nil
	return x.send(b)
}

// try writes what the socket takes now. An error is left to the next write,
// which meets it too.
func (o *output) try(raw syscall.RawConn) (n int) {
	_ = raw.Write(func(fd uintptr) bool {
		for {
			var err error
			if n, err = syscall.Write(int(fd), o.b); err == syscall.EINTR {
				continue
			}
			n = max(n, 0)
			return true
		}
	})
	return n
}
