package upstream

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func (c *h2Conn) roundTrip(ctx context.Context, req *Request) (*Response, error) {
	s, err := c.open(ctx, req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := s.await(ctx, req.Interim)
	if err != nil {
		s.leave()
		return nil, err
	}
	res.Body.(*h2Body).ctx = ctx
	if s.isOver() {
		// Without content nobody need read to learn that it is over.
		_, _ = res.Body.Read(nil)
	}
	return res, nil
}

// isOver reports whether the whole answer is here and empty.
func (s *h2Stream) isOver() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.ended && len(s.buf) == 0
}

// open sends the head of a request and as much of its body as fits; the rest,
// if any, follows from a goroutine.
func (c *h2Conn) open(ctx context.Context, req *Request) (*h2Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved--
	if ctx.Err() != nil {
		c.vacate()
		return nil, &Error{Stage: Unsent, Err: context.Cause(ctx)}
	}
	if c.err != nil || c.leaving {
		c.vacate()
		return nil, &Error{Stage: Unsent, Err: errGoAway}
	}
	s := &h2Stream{
		conn: c, id: c.nextID, batch: c.batch, news: make(chan struct{}, 1), bare: req.Method == http.MethodHead,
		left: -1, window: streamWindow, sendWindow: c.initialWindow,
	}
	c.nextID += 2
	c.streams[s.id] = s
	c.writeHead(s.id, req)
	if req.Body != nil {
		s.out = &h2Upload{s: s, body: req.Body, permitted: make(chan struct{}), done: make(chan struct{})}
		if len(req.Header["Expect"]) == 0 {
			s.out.goOn()
		}
		if !req.Whole || !s.out.sendWhole(req) {
			go s.out.run(req)
		}
	}
	c.signal()
	return s, nil
}

// h2Upload sends a request body. A nil upload is one that has nothing to do.
type h2Upload struct {
	s         *h2Stream
	body      io.ReadCloser
	permitted chan struct{} // closed when a client's Expect was answered
	permit    sync.Once
	done      chan struct{}
	sentAll   bool // guarded by the connection's mutex
}

// sendWhole sends a body in memory right behind its head, when the windows are
// wide enough. The caller holds the connection's mutex.
func (u *h2Upload) sendWhole(req *Request) bool {
	c, n := u.s.conn, req.ContentLength
	if n > u.s.sendWindow || n > c.sendWindow || int64(c.out.Len())+n > floodBacklog/4 {
		return false
	}
	u.s.sendWindow -= n
	c.sendWindow -= n
	buf := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(buf)
	for {
		k, err := u.body.Read((*buf)[:min(len(*buf), c.maxFrame)])
		_ = c.framer.WriteData(u.s.id, err == io.EOF, (*buf)[:k])
		if err != nil {
			break
		}
	}
	u.sentAll = true
	_ = u.body.Close()
	close(u.done)
	return true
}

var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 2*defaultFrame); return &b }}

// run sends the body as it comes and as the API permits.
func (u *h2Upload) run(req *Request) {
	defer close(u.done)
	defer u.body.Close()
	timer := time.NewTimer(continueTimeout)
	select {
	case <-u.permitted:
	case <-timer.C:
	}
	timer.Stop()
	buf := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(buf)
	for {
		n, err := u.body.Read(*buf)
		if n > 0 && !u.send((*buf)[:n]) {
			return
		}
		if err == io.EOF {
			u.finish(req)
			return
		}
		if err != nil {
			u.breakOff()
			return
		}
	}
}

// send waits for room and writes p. It is false when the upload was stopped.
func (u *h2Upload) send(p []byte) bool {
	s, c := u.s, u.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		for !s.stopped && (s.sendWindow <= 0 || c.sendWindow <= 0 || c.out.Len() > uploadBacklog) {
			c.room.Wait()
		}
		if s.stopped {
			return false
		}
		n := min(int64(len(p)), s.sendWindow, c.sendWindow, int64(c.maxFrame))
		s.sendWindow -= n
		c.sendWindow -= n
		_ = c.framer.WriteData(s.id, false, p[:n])
		c.signal()
		p = p[n:]
	}
	return true
}

// finish ends our side, with the trailers where there are some.
func (u *h2Upload) finish(req *Request) {
	s, c := u.s, u.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	u.sentAll = true
	if s.stopped || s.gone {
		return
	}
	if len(req.Trailer) > 0 {
		c.block.Reset()
		c.encodeFields(req.Trailer)
		c.writeBlock(s.id, true)
	} else {
		_ = c.framer.WriteData(s.id, true, nil)
	}
	c.signal()
	if s.ended {
		c.forget(s)
	}
}

// breakOff tells the API that the body will not be completed.
func (u *h2Upload) breakOff() {
	c := u.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !u.s.stopped {
		c.reset(u.s.id, http2.ErrCodeCancel, &Error{Stage: Sent, Err: errUploadBroke})
	}
}

// goOn lets the body out that waits for a 100 (Continue).
func (u *h2Upload) goOn() {
	if u != nil {
		u.permit.Do(func() { close(u.permitted) })
	}
}

// abandon waits for the upload to end; its stream is stopped already.
func (u *h2Upload) abandon() {
	if u == nil {
		return
	}
	u.goOn()
	_ = u.body.Close()
	<-u.done
}

// writeHead encodes the request's head (RFC 9113 8.3). The caller holds mu.
func (c *h2Conn) writeHead(id uint32, req *Request) {
	c.block.Reset()
	c.field(":method", req.Method, false)
	c.field(":scheme", "https", false)
	c.field(":authority", c.authority, false)
	c.field(":path", req.Target, false)
	c.encodeFields(req.Header)
	if req.ContentLength > 0 || req.ContentLength == 0 && expectsLength(req.Method) {
		c.field("content-length", strconv.FormatInt(req.ContentLength, 10), false)
	}
	if len(req.Trailer) > 0 {
		names := make([]string, 0, len(req.Trailer))
		for name := range req.Trailer {
			names = append(names, lower(name))
		}
		c.field("trailer", strings.Join(names, ", "), false)
	}
	c.writeBlock(id, req.Body == nil)
}

func (c *h2Conn) field(name, value string, sensitive bool) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: sensitive})
}

func (c *h2Conn) encodeFields(h http.Header) {
	for name, values := range h {
		// Many clients share the connection: their credentials must not share
		// a compression table (RFC 7541 7.1.3).
		sensitive := name == "Authorization" || name == "X-Api-Key" || name == "Cookie"
		name = lower(name)
		for _, v := range values {
			c.field(name, v, sensitive)
		}
	}
}

// writeBlock sends the encoded block, in CONTINUATION frames where it is
// larger than one frame may be.
func (c *h2Conn) writeBlock(id uint32, end bool) {
	block := c.block.Bytes()
	first := block[:min(len(block), c.maxFrame)]
	block = block[len(first):]
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0,
	})
	for len(block) > 0 {
		next := block[:min(len(block), c.maxFrame)]
		block = block[len(next):]
		_ = c.framer.WriteContinuation(id, len(block) == 0, next)
	}
}
