package edge

// End tells whoever AtEnd has named, too.
func (x *h1exchange) End(cause error) {
	x.leave(cause)
	x.mu.Lock()
	f := x.atEnd
	x.atEnd = nil
	x.mu.Unlock()
	if f != nil {
		go f()
	}
}

// AtEnd does what context.AfterFunc would, which costs a waiting exchange more
// memory than all the rest of its context.
func (x *h1exchange) AtEnd(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f != nil && x.ctx.Err() != nil {
		go f()
		f = nil
	}
	x.atEnd = f
}

// listen follows the end of the request: from now on a client that closes its
// side has left.
func (x *h1exchange) listen() {
	x.mu.Lock()
	x.heard = true
	x.mu.Unlock()
	x.c.listen(x)
}

// leftNow is told when the client has closed its side.
func (x *h1exchange) leftNow() {
	x.mu.Lock()
	gone := x.heard
	x.mu.Unlock()
	if gone {
		x.End(ErrGone)
	}
}
