package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
)

// h2Stream is one request and its answer on an HTTP/2 connection. Its fields
// are guarded by the connection's mutex; the goroutine of the request waits on
// news, which always has a token when something has changed.
type h2Stream struct {
	conn     *h2Conn
	id       uint32
	state    streamState
	bare     bool // the answer has no content, whatever its head says
	complete bool // the whole answer has come
	// batch is the connection's when the head was put in line to be written,
	// and headEnd where in it the head ends.
	batch   uint64
	headEnd int
	news    chan struct{} // nil where nobody can wait on it
	waiter  Waiter        // in news' place, while it waits; nil otherwise

	interim []interimHead
	res     *Response
	trailer *headers.Trailer // becomes the response's at its end
	inbox   inbox
	err     *Error
	left    int64 // of the declared content that has not come; -1 when undeclared

	initial int // the part of receive's size that SETTINGS gave
	receive receiveWindow
	pace    pace
	send    sendWindow
	out     *upload

	ctx  context.Context // of the exchange; it does not change
	done error           // what every further Read of the body says; its reader's, without the mutex
}

type interimHead struct {
	status int
	header headers.Fields
}

var (
	errShort   = errors.New("upstream ended its answer before the declared length")
	errBadHead = fmt.Errorf("%w: it has no valid status", ErrNotHTTP)
	errReset   = errors.New("upstream reset the stream")
)

// wake tells who waits that something has changed. The caller holds mu, and
// leaves it with unlock.
func (s *h2Stream) wake() {
	if s.waiter != nil {
		s.conn.woken = append(s.conn.woken, s.waiter)
		s.waiter = nil
		return
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// fail ends the stream with an error, unless its answer is complete. The
// caller holds mu.
func (s *h2Stream) fail(err *Error) {
	if s.err == nil && !s.complete {
		s.err = err
	}
	s.close()
	s.wake()
}

// close takes the stream off the connection. What has come of the answer stays
// to be read. The caller holds mu.
func (s *h2Stream) close() {
	s.state = streamClosed
	c := s.conn
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	c.room.Broadcast()
	c.vacate()
}

// wasReset takes the API's RST_STREAM. After a whole answer it only means that
// the rest of the upload is not wanted (RFC 9113 8.1).
func (s *h2Stream) wasReset(code http2.ErrCode) {
	said := codeOf(code)
	s.conn.pool.metrics.resets[said].Inc()
	err := &Error{Stage: Sent, Code: said, Err: errReset}
	if code == http2.ErrCodeRefusedStream && s.res == nil {
		err.Stage = Refused
		s.conn.places.refused(len(s.conn.streams) - 1)
	}
	s.fail(err)
}

// headers takes a head: interim, final or trailers.
func (s *h2Stream) headers(b *fieldBlock) error {
	bad := http2.StreamError{StreamID: b.stream, Code: http2.ErrCodeProtocol}
	if b.truncated {
		s.conn.reset(s.id, http2.ErrCodeEnhanceYourCalm, &Error{Stage: Sent, Err: errHeadTooLarge})
		return nil
	}
	if s.res != nil {
		if !b.ended || b.status != "" || !s.state.mayReceive() {
			return bad
		}
		s.trailer = s.res.Trailer.With(b.take())
		return s.end()
	}
	status, err := strconv.Atoi(b.status)
	if err != nil || len(b.status) != 3 || status < 100 || status > 999 || status == http.StatusSwitchingProtocols {
		s.conn.reset(s.id, http2.ErrCodeProtocol, &Error{Stage: Sent, Err: errBadHead})
		return nil
	}
	if status < 200 {
		if b.ended || len(s.interim) >= mostInterim {
			return bad
		}
		s.interim = append(s.interim, interimHead{status, b.take()})
		s.wake()
		return nil
	}
	s.conn.places.answered()
	return s.final(b, status)
}

// mostInterim bounds the 1xx answers that wait to be passed on.
const mostInterim = 16

func (s *h2Stream) final(b *fieldBlock, status int) error {
	res := &Response{Status: status, Header: b.take(), Body: (*h2Body)(s)}
	var err error
	if res.ContentLength, err = declared(res.Header); err != nil {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	s.left = res.ContentLength
	res.Trailer = headers.Announced(announced(res.Header))
	res.Header = res.Header.Without("Trailer")
	s.res = res
	s.wake()
	head := s.bare // a HEAD's answer says nothing of a length that it does not name
	if s.bare = s.bare || status == http.StatusNoContent || status == http.StatusNotModified; s.bare {
		// The answer is whole at its head (RFC 9110 6.4.1). Some servers send
		// content all the same: nobody reads it.
		s.left, s.complete = 0, true
	}
	if b.ended {
		if res.ContentLength < 0 && !head {
			res.ContentLength = 0
		}
		return s.end()
	}
	return nil
}

// end takes the end of the API's side.
func (s *h2Stream) end() error {
	if s.left > 0 {
		s.conn.reset(s.id, http2.ErrCodeProtocol, &Error{Stage: Sent, Err: errShort})
		return nil
	}
	s.complete = true
	s.wake()
	if s.state = s.state.endRemote(); s.state == streamClosed {
		s.close()
	}
	return nil
}

// data takes content. size is what it costs of the windows.
func (s *h2Stream) data(f *http2.DataFrame, size int) error {
	data := f.Data()
	within := s.receive.receive(size)
	tooLong := s.left >= 0 && int64(len(data)) > s.left
	switch {
	case !within && !s.conn.grants.unacked:
		s.receive.consume(size)
		s.conn.reset(s.id, http2.ErrCodeFlowControl, &Error{Stage: Sent, Err: ErrNotHTTP})
		return nil
	case s.bare:
		s.receive.consume(size)
		if f.StreamEnded() {
			return s.end()
		}
		return nil
	case s.res == nil || !s.state.mayReceive() || tooLong:
		s.receive.consume(size)
		s.conn.reset(s.id, http2.ErrCodeProtocol, &Error{Stage: Sent, Err: ErrNotHTTP})
		return nil
	}
	if s.left > 0 {
		s.left -= int64(len(data))
	}
	s.receive.consume(size - len(data))
	s.inbox.put(data)
	s.conn.pool.budget.take(len(data))
	s.conn.adjust()
	if f.StreamEnded() {
		return s.end()
	}
	if len(data) > 0 {
		s.wake()
	}
	return nil
}

// consumed follows n bytes that were read. The window grows for a reader that
// keeps up, as long as the process holds little.
func (s *h2Stream) consumed(n int) {
	c := s.conn
	s.receive.consume(n)
	c.pool.budget.give(n)
	c.adjust()
	if !s.state.mayReceive() {
		return
	}
	if s.receive.size < mostGrown && c.pool.budget.ample() && s.pace.keepsUp(n, s.receive.size, c.pulse.rtt, time.Since(c.facts.born)) {
		s.receive.size = min(s.receive.size*growth, mostGrown)
	}
	if n := s.receive.announce(); n > 0 {
		_ = c.framer.WriteWindowUpdate(s.id, uint32(n))
		c.signal()
	}
}

// leave ends what is left of the exchange. Nobody reads the request's body
// once it has returned.
func (s *h2Stream) leave() {
	c := s.conn
	c.mu.Lock()
	c.pool.budget.give(s.inbox.clear())
	if s.state != streamClosed {
		// An upload that no longer moves because the connection's window is
		// shut leaves it so for whoever comes next.
		stuck := s.state.maySend() && c.send.shutFor() >= retirePatience
		// The API learns at once that nobody listens any more.
		_ = c.framer.WriteRSTStream(s.id, http2.ErrCodeCancel)
		c.signal()
		s.close()
		if stuck && c.err == nil {
			c.leave(errConnShut)
		}
	}
	c.unlock()
	s.out.abandon()
}
