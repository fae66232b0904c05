package upstream

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// sink is where the content of a request goes: an HTTP/1.1 connection or an
// HTTP/2 stream. One goroutine uses it.
type sink interface {
	// write takes p whole, or fails for good.
	write(p []byte) error
	// finish ends the content.
	finish(trailer headers.Fields) error
	// breakOff says that it will not be completed.
	breakOff()
}

// upload sends the content of a request while its answer is awaited. A nil
// upload is one that has nothing to do.
type upload struct {
	body      io.ReadCloser
	to        sink
	permitted chan struct{} // closed when a client's Expect was answered
	permit    sync.Once
	last      atomic.Bool // the last of it is being written
	done      chan struct{}
	sent      int64 // bytes of the body; valid, like err, once done is closed
	err       error
}

// continueTimeout is how long a client's Expect: 100-continue may wait for the
// API before the body is sent anyway (RFC 9110 10.1.1).
const continueTimeout = time.Second

func startUpload(to sink, req *Request) *upload {
	u := &upload{body: req.Body, to: to, permitted: make(chan struct{}), done: make(chan struct{})}
	if !req.Header.Has("Expect") {
		u.goOn()
	}
	go func() {
		defer close(u.done)
		defer u.body.Close()
		u.err = u.run(req)
	}()
	return u
}

func (u *upload) run(req *Request) error {
	u.awaitPermit()
	buf := forContent(req.ContentLength)
	defer buf.free()
	for {
		n, err := u.body.Read(buf.b)
		u.sent += int64(n)
		if err == io.EOF || u.sent == req.ContentLength {
			u.last.Store(true) // before the API can know it
		}
		if n > 0 {
			if werr := u.to.write(buf.b[:n]); werr != nil {
				return werr
			}
		}
		switch err {
		case nil:
		case io.EOF: // the body itself guarantees its length: a shorter one fails
			return u.to.finish(req.trailer())
		default:
			u.to.breakOff()
			return err
		}
	}
}

func (u *upload) awaitPermit() {
	t := time.NewTimer(continueTimeout)
	defer t.Stop()
	select {
	case <-u.permitted:
	case <-t.C:
	}
}

// goOn lets the body out that waits for a 100 (Continue).
func (u *upload) goOn() {
	if u != nil {
		u.permit.Do(func() { close(u.permitted) })
	}
}

// atEnd reports whether an API that answers now can have read all of it.
func (u *upload) atEnd() bool { return u == nil || u.last.Load() }

// isOver reports whether nothing of it goes on.
func (u *upload) isOver() bool {
	if u == nil {
		return true
	}
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// lastWrite is what the last write may take to return after its answer.
const lastWrite = 100 * time.Millisecond

// sentWithin reports whether the content was sent to its end and is no longer
// than limit.
func (u *upload) sentWithin(limit int64) bool {
	if !u.atEnd() {
		return false
	}
	if u == nil {
		return true
	}
	t := time.NewTimer(lastWrite)
	defer t.Stop()
	select {
	case <-u.done:
		return u.err == nil && u.sent <= limit
	case <-t.C:
		return false
	}
}

// abandon waits for the upload to end. Its sink takes nothing any more, so only
// a read of the body can still hold it: closing the body ends that too. It is
// closed before it is let out: nobody may ask a client for a refused body.
func (u *upload) abandon() {
	if u == nil {
		return
	}
	_ = u.body.Close()
	u.goOn()
	<-u.done
}
