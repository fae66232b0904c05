package edge

// slots bound the connections that are open at once, so that clients which
// connect and say nothing cannot take all memory. Above the bound, dials wait
// in the kernel's queue.
type slots chan struct{}

// take waits for a slot; it is false when done closes first.
func (s slots) take(done <-chan struct{}) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

func (s slots) give() { <-s }
