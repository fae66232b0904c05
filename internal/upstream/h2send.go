package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/headers"
)

func (c *h2Conn) roundTrip(ctx context.Context, req *Request) (*Response, error) {
	s, err := c.open(ctx, req)
	if err != nil {
		return nil, err
	}
	res, err := s.await(ctx, req.interim)
	if err != nil {
		s.leave()
		return nil, err
	}
	if s.isOver() {
		// Without content nobody need read to learn that it is over.
		_, _ = res.Body.Read(nil)
	}
	return res, nil
}

// open sends the head of a request and, of a body in memory, all that fits; the
// rest, if any, follows from a goroutine.
func (c *h2Conn) open(ctx context.Context, req *Request) (*h2Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places.reserved--
	switch {
	case ctx.Err() != nil:
		c.vacate()
		closeBody(req)
		return nil, &Error{Stage: Unsent, Err: context.Cause(ctx)}
	case c.err != nil || c.leaving:
		c.vacate()
		return nil, errPlaceLost
	}
	s := &h2Stream{
		conn: c, ctx: ctx, id: c.nextID, batch: c.batches, news: make(chan struct{}, 1), bare: req.Method == http.MethodHead,
		left: -1, initial: c.grants.initial, receive: newReceiveWindow(c.grants.initial), send: sendWindow{c.initialWindow},
	}
	c.nextID += 2
	c.streams[s.id] = s
	c.writeHead(s.id, req)
	s.headEnd = c.out.Len()
	switch {
	case req.Body == nil:
		s.state = s.state.endLocal()
	case req.atOnce() && s.sendWhole(req):
		s.state = s.state.endLocal()
	default:
		s.out = startUpload(s, req)
	}
	c.signal()
	return s, nil
}

// sendWhole sends a body in memory right behind its head, when the windows are
// wide enough. The caller holds the connection's mutex.
func (s *h2Stream) sendWhole(req *Request) bool {
	c, n := s.conn, req.ContentLength
	if n > s.send.left || n > c.send.left || int64(c.out.Len())+n > floodBacklog/4 {
		return false
	}
	s.send.spend(n)
	c.send.spend(n)
	buf := bodyBuffers.get()
	defer buf.free()
	defer req.Body.Close()
	for {
		k, err := req.Body.Read(buf.b[:min(len(buf.b), c.maxFrame)])
		c.writeData(s.id, err == io.EOF, buf.b[:k])
		if err != nil {
			return true
		}
	}
}

// writeHead encodes the request's head (RFC 9113 8.3). The caller holds mu.
func (c *h2Conn) writeHead(id uint32, req *Request) {
	c.block.Reset()
	c.field(":method", req.Method, false)
	c.field(":scheme", "https", false)
	c.field(":authority", c.pool.target.Host, false)
	c.field(":path", req.Target, false)
	c.encodeFields(req.Header)
	if req.ContentLength > 0 || req.ContentLength == 0 && expectsLength(req.Method) {
		c.field("content-length", strconv.FormatInt(req.ContentLength, 10), false)
	}
	if req.Trailer != nil {
		c.field("trailer", strings.ToLower(strings.Join(req.Trailer.Names, ", ")), false)
	}
	c.writeBlock(id, req.Body == nil)
}

func (c *h2Conn) field(name, value string, sensitive bool) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: sensitive})
}

func (c *h2Conn) encodeFields(h headers.Fields) {
	for _, f := range h {
		name, secret := headers.Lower(f.Name)
		c.field(name, f.Value, secret)
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

// errStopped ends an upload whose stream has ended.
var errStopped = errors.New("the stream has ended")

// write sends content as the API permits.
func (s *h2Stream) write(p []byte) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		for s.state.maySend() && (s.send.left <= 0 || c.send.left <= 0 || c.out.Len() > uploadBacklog) {
			c.room.Wait()
		}
		if !s.state.maySend() {
			return errStopped
		}
		n := min(int64(len(p)), s.send.left, c.send.left, int64(c.maxFrame))
		s.send.spend(n)
		c.send.spend(n)
		c.writeData(s.id, false, p[:n])
		c.signal()
		p = p[n:]
	}
	return nil
}

// finish ends our side, with the trailers where there are some.
func (s *h2Stream) finish(trailer headers.Fields) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.state.maySend() {
		return errStopped
	}
	if len(trailer) > 0 {
		c.block.Reset()
		c.encodeFields(trailer)
		c.writeBlock(s.id, true)
	} else {
		c.writeData(s.id, true, nil)
	}
	c.signal()
	if s.state = s.state.endLocal(); s.state == streamClosed {
		s.close()
	}
	return nil
}

// breakOff tells the API that the content will not be completed.
func (s *h2Stream) breakOff() {
	c := s.conn
	c.mu.Lock()
	defer c.unlock()
	if s.state.maySend() {
		c.reset(s.id, http2.ErrCodeCancel, &Error{Stage: Sent, Err: errUploadBroke})
	}
}
