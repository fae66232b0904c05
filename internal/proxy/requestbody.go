package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"

	"anthropic-oauth-proxy/internal/headers"
)

// requestBody is the client's body as the engine will read it: none, whole in
// memory, or streaming.
type requestBody struct {
	whole  []byte // with room for its length exactly; nil unless read ahead
	buffer *[]byte
	budget *budget
	last   *wholeBody // of the newest attempt
	stream *streamBody
	ahead  bool // the client's body was read to its end before it was sent
}

var wholeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// prepareBody reads a small body ahead and sets a large one up for streaming.
// A client that asked for 100 (Continue) wants the API's word first, and
// trailers come after a body that net/http saw the end of.
func (x *exchange) prepareBody() error {
	r := x.r
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	s := &streamBody{
		src: r.Body, rc: x.rc, dog: x.dog, limit: x.h.Limits.MaxBodyBytes,
		count: &x.sent, ended: x.uploadEnded,
	}
	if x.mayReadAhead(readAheadLimit) {
		return x.readAhead(s)
	}
	if r.ProtoMajor == 1 {
		// Without it net/http closes the body under the upload as soon as an
		// early answer begins (golang/go#40747).
		_ = x.rc.EnableFullDuplex()
		x.watchClient(s)
	}
	x.body.stream = s
	x.trailer = headers.Trailer(r.Trailer)
	return nil
}

// watchClient replaces the context that ends when the client leaves. When we
// interrupt a read of an HTTP/1.1 connection, net/http believes that it did;
// from then on only a failed write tells.
func (x *exchange) watchClient(s *streamBody) {
	client := x.r.Context()
	ctx, leave := context.WithCancelCause(context.WithoutCancel(client))
	stop := context.AfterFunc(client, func() {
		if !s.wasCut() {
			leave(errClientGone)
		}
	})
	x.client, x.unwatch = ctx, func() { stop(); leave(context.Canceled) }
}

// catchUp reads a long body that waited in line with its request: the end of a
// client that left stands behind it on an HTTP/1.1 connection.
func (x *exchange) catchUp() error {
	s := x.body.stream
	if s == nil || x.r.ProtoMajor != 1 || !x.mayReadAhead(catchUpLimit) {
		return nil
	}
	x.body.stream = nil
	return x.readAhead(s)
}

// mayReadAhead takes from the budget what the whole body needs, if it may.
func (x *exchange) mayReadAhead(limit int64) bool {
	n := x.r.ContentLength
	if n < 0 || n > limit || len(x.r.Header["Expect"]) > 0 || len(x.r.Trailer) > 0 || !x.h.replay.take(n) {
		return false
	}
	x.body.budget = x.h.replay
	return true
}

func (x *exchange) readAhead(s *streamBody) error {
	b, n := &x.body, int(x.r.ContentLength)
	b.buffer = wholeBuffers.Get().(*[]byte)
	if cap(*b.buffer) < n {
		*b.buffer = make([]byte, 0, n)
	}
	b.whole = (*b.buffer)[:n]
	x.dog.watch(x.h.Limits.IdleTimeout, func() { _ = s.Close() })
	_, err := io.ReadFull(s, b.whole)
	x.dog.stop()
	if err == nil {
		b.ahead = true
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		x.client = context.WithoutCancel(x.client) // see watchClient
		return errClientStalled
	}
	return bodyError(err)
}

func (b *requestBody) streams() bool { return b.stream != nil }

// reader is the body for one attempt, nil when there is none.
func (b *requestBody) reader() (body io.ReadCloser, whole bool) {
	switch {
	case b.whole != nil:
		b.last = &wholeBody{data: b.whole}
		return b.last, true
	case b.stream != nil:
		b.stream.reopen()
		return b.stream, false
	}
	return nil, true
}

// repeatable reports whether the body can be sent from its beginning again.
func (b *requestBody) repeatable() bool { return b.stream == nil || b.stream.untouched() }

// releaseTaken gives the memory of a body back once the engine has it all. An
// API may begin its answer earlier and still want the rest.
func (b *requestBody) releaseTaken() {
	if b.last != nil && b.last.taken() {
		b.release()
	}
}

// release gives the memory back. Nothing is repeated after it.
func (b *requestBody) release() {
	if b.stream != nil {
		_ = b.stream.Close()
	}
	if b.last != nil {
		_ = b.last.Close()
	}
	if b.budget != nil {
		b.budget.give(int64(len(b.whole)))
		b.budget = nil
	}
	if b.buffer != nil {
		if cap(*b.buffer) <= readAheadLimit {
			wholeBuffers.Put(b.buffer)
		}
		b.buffer, b.whole = nil, nil
	}
}

// readToEnd reports whether nothing of the body is left on the connection.
func (b *requestBody) readToEnd() bool {
	if b.stream == nil {
		return b.ahead
	}
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	return b.stream.done == io.EOF
}
