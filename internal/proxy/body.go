package proxy

import (
	"errors"
	"io"
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
)

// A body of known length up to readAheadLimit is read before anything is sent:
// the upload then never depends on the client, an early answer cannot cut it,
// and the request may be repeated. Longer and unknown ones stream through and
// may not.
const readAheadLimit = 256 << 10

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
// may then be used again even if a careless reader comes late.
type wholeBody struct {
	mu   sync.Mutex
	data []byte
	off  int
}

func (b *wholeBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off >= len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	if b.off == len(b.data) {
		return n, io.EOF
	}
	return n, nil
}

func (b *wholeBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = nil
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

	mu     sync.Mutex
	begun  bool
	done   error // what every further Read says
	closed bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.begun = true
	err := b.done
	if b.closed && err == nil {
		err = io.ErrClosedPipe
	}
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
	if err != nil {
		b.finish(err)
	}
	return n, err
}

func (b *streamBody) finish(err error) {
	b.mu.Lock()
	closed := b.closed
	b.done = err
	b.mu.Unlock()
	switch {
	case closed: // our own doing; whoever closed knows why
	case err == io.EOF:
		b.ended(nil)
	default:
		b.ended(bodyError(err))
	}
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
	if b.begun {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
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
