package proxy

import "io"

// upload is the body as one attempt sends it: first what is kept, then what the
// client sends. The engine reads and closes it, from any goroutine.
type upload struct {
	in *intake
	// over is called once, by the goroutine that reads: with nil at the end of
	// the client's body, or with what went wrong with it.
	over func(error)

	// Guarded by in.mu.
	off     int64 // how much of what is kept was taken
	page    int
	within  int // the place in the page
	closed  bool
	reading bool
}

// newUpload makes the upload of one attempt; it is nil without content.
func newUpload(in *intake, over func(error)) *upload {
	if in.src == nil {
		return nil
	}
	return &upload{in: in, over: over}
}

// Read never says that half a body is whole: one that was closed, or whose
// memory has gone, fails.
func (u *upload) Read(p []byte) (int, error) {
	in := u.in
	in.mu.Lock()
	if u.closed || u.off < in.kept && in.spent {
		in.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	if u.off < in.kept {
		defer in.mu.Unlock()
		return u.take(p), u.atEnd()
	}
	if in.done != nil {
		defer in.mu.Unlock()
		return 0, in.done
	}
	in.free() // from here on it cannot be sent again
	u.reading = true
	in.mu.Unlock()
	n, err := in.pull(p)
	in.mu.Lock()
	u.reading, in.done = false, err
	closed := u.closed
	in.mu.Unlock()
	switch {
	case err == io.EOF:
		u.over(nil)
	case err != nil && !closed: // whoever closed knows why
		u.over(err)
	}
	return n, err
}

// take copies from the pages.
func (u *upload) take(p []byte) (n int) {
	for n < len(p) && u.off < u.in.kept {
		page := u.in.pages[u.page]
		c := copy(p[n:], page[u.within:])
		n += c
		u.off += int64(c)
		if u.within += c; u.within == len(page) {
			u.page, u.within = u.page+1, 0
		}
	}
	if u.off == u.in.kept && u.in.eager {
		u.in.free()
	}
	return n
}

// atEnd is io.EOF behind the last byte of a body that is all there.
func (u *upload) atEnd() error {
	if u.off == u.in.kept {
		return u.in.done
	}
	return nil
}

// Close ends a Read that waits for the client. After the end of the body it
// does nothing: the connection stays good for the next request.
func (u *upload) Close() error {
	if u == nil {
		return nil
	}
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	if u.reading && !u.closed {
		_ = u.in.src.Close()
	}
	u.closed = true
	return nil
}

// answered says that nothing will be sent again. An API may begin its answer
// early and still want the rest.
func (u *upload) answered() {
	if u == nil {
		return
	}
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	u.in.eager = true
	if u.off == u.in.kept {
		u.in.free()
	}
}

// complete reports whether the client's body has come to its end, and the engine
// has taken all of it.
func (u *upload) complete() bool {
	if u == nil {
		return true
	}
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	return u.in.done == io.EOF && u.in.spent
}

// stalled says whose fault it is that the body does not move.
func (u *upload) stalled() cause {
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	if u.reading {
		return clientStalled
	}
	return uploadStalled
}
