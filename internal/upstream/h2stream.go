package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
)

// h2Stream is one request and its answer on an HTTP/2 connection. Its fields
// are guarded by the connection's mutex; the goroutine of the request waits on
// news, which always has a token when something has changed.
type h2Stream struct {
	conn *h2Conn
	id   uint32
	// batch is the connection's when the head was put in line to be written.
	batch uint64
	news  chan struct{}
	bare  bool // the answer has no content, whatever its head says

	interim    []interimHead
	res        *Response
	trailer    http.Header // becomes the response's at its end
	buf        []byte      // received, not yet read; from off
	off        int
	ended      bool // the API has ended its side
	gone       bool // the connection has forgotten the stream
	err        *Error
	left       int64 // of the declared content that has not come; -1 when undeclared
	window     int   // of what the API may still send
	unreturned int

	sendWindow int64
	stopped    bool // the upload is to end
	out        *h2Upload
}

type interimHead struct {
	status int
	header http.Header
}

var (
	errShort   = errors.New("upstream ended its answer before the declared length")
	errBadHead = errors.New("upstream's answer has no valid status")
	errReset   = errors.New("upstream reset the stream")
)

func (s *h2Stream) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// fail ends the stream with an error, unless its answer is complete. The
// caller holds mu.
func (s *h2Stream) fail(err *Error) {
	if s.err == nil && !s.ended {
		s.err = err
	}
	s.stopped = true
	s.conn.room.Broadcast()
	s.wake()
}

// wasReset takes the API's RST_STREAM. After a whole answer it only means that
// the rest of the upload is not wanted.
func (s *h2Stream) wasReset(code http2.ErrCode) {
	err := &Error{Stage: Sent, Err: errReset}
	if code == http2.ErrCodeRefusedStream {
		err.Stage = Refused
	}
	s.fail(err)
	s.conn.forget(s)
}

// headers takes a head: interim, final or trailers.
func (s *h2Stream) headers(f *http2.MetaHeadersFrame) error {
	bad := http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	if f.Truncated {
		s.conn.reset(s.id, http2.ErrCodeEnhanceYourCalm, &Error{Stage: Sent, Err: errHeadTooLarge})
		return nil
	}
	if s.res != nil {
		if !f.StreamEnded() || len(f.PseudoFields()) > 0 {
			return bad
		}
		s.trailer = headerOf(f)
		return s.end()
	}
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil || status < 100 || status > 999 || status == http.StatusSwitchingProtocols {
		s.conn.reset(s.id, http2.ErrCodeProtocol, &Error{Stage: Sent, Err: errBadHead})
		return nil
	}
	if status < 200 {
		if f.StreamEnded() || len(s.interim) >= mostInterim {
			return bad
		}
		s.interim = append(s.interim, interimHead{status, headerOf(f)})
		s.wake()
		return nil
	}
	return s.final(f, status)
}

// mostInterim bounds the 1xx answers that wait to be passed on.
const mostInterim = 16

func (s *h2Stream) final(f *http2.MetaHeadersFrame, status int) error {
	res := &Response{Status: status, Header: headerOf(f), ContentLength: -1, Body: &h2Body{s: s}}
	s.left = -1
	if declared := res.Header["Content-Length"]; len(declared) == 1 {
		n, err := strconv.ParseUint(declared[0], 10, 63)
		if err != nil {
			return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
		}
		res.ContentLength = int64(n)
		s.left = int64(n)
	}
	if s.bare = s.bare || status == http.StatusNoContent || status == http.StatusNotModified; s.bare {
		s.left = 0
	}
	res.Trailer = announced(res.Header)
	s.res = res
	s.wake()
	if f.StreamEnded() {
		if res.ContentLength < 0 {
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
	s.ended = true
	s.wake()
	if s.out == nil || s.out.sentAll {
		s.conn.forget(s)
	}
	return nil
}

// receive takes content. size is what it costs of the windows.
func (s *h2Stream) receive(f *http2.DataFrame, size int) error {
	data := f.Data()
	s.window -= size
	code := http2.ErrCodeProtocol
	switch tooLong := s.left >= 0 && int64(len(data)) > s.left; {
	case s.window < 0:
		code = http2.ErrCodeFlowControl
		fallthrough
	case s.res == nil || s.ended || tooLong:
		s.conn.giveBack(len(data))
		s.conn.reset(s.id, code, &Error{Stage: Sent, Err: errMalformed})
		return nil
	}
	if s.left > 0 {
		s.left -= int64(len(data))
	}
	s.returned(size - len(data))
	if s.off > 0 && len(s.buf)+len(data) > cap(s.buf) {
		s.buf = s.buf[:copy(s.buf, s.buf[s.off:])]
		s.off = 0
	}
	s.buf = append(s.buf, data...)
	if f.StreamEnded() {
		return s.end()
	}
	if len(data) > 0 {
		s.wake()
	}
	return nil
}

// returned gives n bytes back to the stream's window, now and then.
func (s *h2Stream) returned(n int) {
	s.unreturned += n
	if s.unreturned >= streamWindow/4 && !s.ended && !s.gone {
		_ = s.conn.framer.WriteWindowUpdate(s.id, uint32(s.unreturned))
		s.window += s.unreturned
		s.unreturned = 0
		s.conn.signal()
	}
}

// await waits for the head of the answer and passes on what comes before it.
func (s *h2Stream) await(ctx context.Context, interim func(int, http.Header)) (*Response, error) {
	for {
		s.conn.mu.Lock()
		res, err, early := s.res, s.err, s.interim
		s.interim = nil
		s.conn.mu.Unlock()
		for _, i := range early {
			switch {
			case i.status == http.StatusContinue:
				s.out.goOn()
			case interim != nil:
				interim(i.status, i.header)
			}
		}
		switch {
		case res != nil:
			if res.Status < 300 {
				s.out.goOn() // a refusal does not want the content that it was asked about
			}
			return res, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return nil, &Error{Stage: Sent, Err: context.Cause(ctx)}
		}
	}
}

// leave ends what is left of the exchange. Nobody reads the request's body
// once it has returned.
func (s *h2Stream) leave() {
	c := s.conn
	c.mu.Lock()
	s.stopped = true
	c.giveBack(len(s.buf) - s.off)
	s.buf, s.off = nil, 0
	if !s.gone {
		// The API learns at once that nobody listens any more.
		c.forget(s)
		if c.err == nil {
			_ = c.framer.WriteRSTStream(s.id, http2.ErrCodeCancel)
			c.signal()
		}
	}
	c.room.Broadcast()
	c.mu.Unlock()
	s.out.abandon()
}

// h2Body reads the answer's content.
type h2Body struct {
	s    *h2Stream
	ctx  context.Context
	done error // what every further Read says
}

// keepBuffer is how large an empty buffer of a stream that waits may be.
const keepBuffer = 2 << 10

func (b *h2Body) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	s := b.s
	for {
		n, over, err := s.take(p)
		switch {
		case n > 0 && !over:
			return n, nil
		case over:
			b.done = err
			s.leave()
			return n, err
		}
		select {
		case <-s.news:
		case <-b.ctx.Done():
			b.done = context.Cause(b.ctx)
			s.leave()
			return 0, b.done
		}
	}
}

// take copies what has come. over tells that nothing comes after it.
func (s *h2Stream) take(p []byte) (n int, over bool, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	n = copy(p, s.buf[s.off:])
	s.off += n
	if s.off == len(s.buf) {
		s.off = 0
		s.buf = s.buf[:0]
		if cap(s.buf) > keepBuffer {
			s.buf = nil
		}
		switch {
		case s.ended:
			over, err = true, io.EOF
			if s.trailer != nil {
				s.res.Trailer = s.trailer
			}
		case s.err != nil:
			over, err = true, s.err
		}
	}
	if n > 0 {
		c.giveBack(n)
		s.returned(n)
	}
	return n, over, err
}

func (b *h2Body) Close() error {
	if b.done == nil {
		b.done = errBodyClosed
		b.s.leave()
	}
	return nil
}
