package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The ways in which a request body can fail us.
var (
	errTooLarge      = errors.New("read request body: it is over the size limit")
	errClientGone    = errors.New("read request body: the client left")
	errClientStalled = errors.New("the client stopped moving")
	errMalformed     = errors.New("read request body: it is malformed")
	errAPIStalled    = errors.New("the API stopped reading the request")
)

// A body of known length up to readAheadLimit is read before anything is sent:
// the upload then never depends on the client, an early answer cannot cut it,
// and the request may be repeated. Longer and unknown ones stream through and
// may not.
const readAheadLimit = 256 << 10

// catchUpLimit is the same for a request that waited in line. It is what a
// client's kernel will send on after the client has gone.
const catchUpLimit = 4 << 20

// budget bounds the memory that read-ahead bodies hold in the whole process.
// The zero budget gives nothing.
type budget struct{ left atomic.Int64 }

func newBudget(bytes int64) *budget {
	b := &budget{}
	b.left.Store(bytes)
	return b
}

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// wholeBody is a body in memory. Closing it cuts the tie to the memory, which
// may then be used again even if a careless reader comes late: such a reader
// gets an error, never an end that would make half a body look whole.
type wholeBody struct {
	mu     sync.Mutex
	data   []byte
	off    int
	closed bool
}

func (b *wholeBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	if b.off == len(b.data) {
		return n, io.EOF
	}
	return n, nil
}

// taken reports whether the body was read to its end.
func (b *wholeBody) taken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.off == len(b.data)
}

func (b *wholeBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.data = true, nil
	return nil
}

// streamBody passes a client's body through, counted and limited.
type streamBody struct {
	src   io.Reader
	rc    *http.ResponseController
	dog   *watchdog
	limit int64 // bytes that may still come, and one more
	count *atomic.Int64
	// ended is called once, from the reader's goroutine: with nil at the end
	// of the body, or with what went wrong.
	ended func(error)

	mu      sync.Mutex
	begun   bool
	reading bool
	done    error // what every further Read says
	closed  bool
	cut     bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.begun = true
	err := b.done
	if b.closed && err == nil {
		err = io.ErrClosedPipe
	}
	b.reading = err == nil
	b.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := b.src.Read(p)
	b.dog.touch()
	b.count.Add(int64(n))
	b.limit -= int64(n)
	if b.limit < 0 {
		n, err = 0, errTooLarge
	}
	b.mu.Lock()
	b.reading = false
	b.done = err
	closed := b.closed
	b.mu.Unlock()
	switch {
	case err == nil, closed: // nothing ended, or whoever closed knows why
	case err == io.EOF:
		b.ended(nil)
	default:
		b.ended(bodyError(err))
	}
	return n, err
}

// Close ends a Read that waits for the client. After the end of the body it
// does nothing: the connection stays good for the next request.
func (b *streamBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.done != nil {
		return nil
	}
	b.closed = true
	if b.reading {
		b.cut = true
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
}

// reopen readies a body that a failed attempt closed without having read it.
func (b *streamBody) reopen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = b.begun
}

// stalled says whose fault it is that the body does not move.
func (b *streamBody) stalled() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading {
		return errClientStalled
	}
	return errAPIStalled
}

// wasCut reports whether Close interrupted a Read: what the connection says
// after that need not come from the client.
func (b *streamBody) wasCut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cut
}

// untouched reports whether nothing of the body was read: it can still be sent
// from its beginning.
func (b *streamBody) untouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.begun
}

// bodyError sorts what reading a client's body can fail with.
func bodyError(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errClientStalled
	case errors.Is(err, io.ErrUnexpectedEOF), isNetError(err):
		return errClientGone
	}
	return errMalformed
}

// isNetError tells the failures of a connection from those of a parser.
func isNetError(err error) bool {
	var ne net.Error
	var op *net.OpError
	return errors.As(err, &ne) || errors.As(err, &op) || errors.Is(err, net.ErrClosed)
}
