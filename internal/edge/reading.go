package edge

import (
	"io"
	"sync"
	"time"
)

// reading is the state of a body, which one goroutine reads and any may close.
type reading struct {
	mu   sync.Mutex
	done error // what every further Read says
	busy bool  // a Read is under way
}

// begin is called before a Read. An error is what it says, at once.
func (r *reading) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = r.done == nil
	return r.done
}

// end is called behind a Read that failed with err, or did not, and returns
// what it says.
func (r *reading) end(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	if r.done == nil {
		r.done = err
	}
	return r.done
}

// close has every further Read say [ErrClosed], and interrupts one that waits
// at c.
func (r *reading) close(c interface{ SetReadDeadline(time.Time) error }) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil {
		return
	}
	r.done = ErrClosed
	if r.busy {
		_ = c.SetReadDeadline(past)
	}
}

// ended reports whether the content was read to its end.
func (r *reading) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done == io.EOF
}
