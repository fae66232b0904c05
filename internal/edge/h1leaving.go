package edge

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
