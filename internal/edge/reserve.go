package edge

import (
	"os"
	"sync"
)

// reserve is a few descriptors that are held open for nothing, to be there
// when somebody else has taken all that the process may have. A nil reserve is
// empty.
type reserve struct {
	mu    sync.Mutex
	size  int
	files []*os.File
}

func newReserve(size int) *reserve {
	r := &reserve{size: size}
	r.refill()
	return r
}

// spend gives one descriptor up for a connection. It is false when none is
// left.
func (r *reserve) spend() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.files)
	if n == 0 {
		return false
	}
	_ = r.files[n-1].Close()
	r.files = r.files[:n-1]
	return true
}

// refill takes back what was spent, as far as there is any.
func (r *reserve) refill() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.files) < r.size {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		r.files = append(r.files, f)
	}
}

// close gives everything up for good.
func (r *reserve) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.size = 0
	r.mu.Unlock()
	for r.spend() {
	}
}
