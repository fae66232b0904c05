package upstream

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// upload sends a request body while its answer is awaited. A nil upload is one
// that has nothing to do.
type upload struct {
	body      io.ReadCloser
	permitted chan struct{} // closed when a client's Expect was answered
	permit    sync.Once
	done      chan struct{}
	sent      int64 // bytes of the body; valid, like err, once done is closed
	err       error
}

// longUpload is what an API may leave unread and still keep its connection.
// One that answers without having read more than that closes it, some without
// a word in their answer, and the next request would run into the end.
const longUpload = 256 << 10

func startUpload(to net.Conn, req *Request) *upload {
	u := &upload{body: req.Body, permitted: make(chan struct{}), done: make(chan struct{})}
	if len(req.Header["Expect"]) == 0 {
		u.goOn()
	}
	go func() {
		defer close(u.done)
		defer u.body.Close()
		u.err = u.run(to, req)
	}()
	return u
}

func (u *upload) run(to net.Conn, req *Request) (err error) {
	u.awaitPermit()
	buf := bodyBuffers.Get().(*[]byte)
	defer bodyBuffers.Put(buf)
	if req.ContentLength >= 0 {
		// The body itself guarantees its length: a shorter one fails.
		u.sent, err = io.CopyBuffer(onlyWriter{to}, onlyReader{u.body}, *buf)
		return err
	}
	u.sent, err = copyChunked(to, req, *buf)
	return err
}

func (u *upload) awaitPermit() {
	t := time.NewTimer(continueTimeout)
	defer t.Stop()
	select {
	case <-u.permitted:
	case <-t.C:
	}
}

// copyChunked frames each read as one chunk (RFC 9112 7.1), in one write.
func copyChunked(to io.Writer, req *Request, buf []byte) (sent int64, err error) {
	const room = 8 // a chunk's length in hex and its line end, before the data
	for {
		n, err := req.Body.Read(buf[room : len(buf)-2])
		sent += int64(n)
		if n > 0 {
			size := strconv.AppendInt(make([]byte, 0, room), int64(n), 16)
			start := room - 2 - len(size)
			copy(buf[start:], size)
			copy(buf[room-2:], "\r\n")
			copy(buf[room+n:], "\r\n")
			if _, werr := to.Write(buf[start : room+n+2]); werr != nil {
				return sent, werr
			}
		}
		if err == io.EOF {
			last := appendFields([]byte("0\r\n"), req.Trailer)
			_, err = to.Write(append(last, "\r\n"...))
			return sent, err
		}
		if err != nil {
			return sent, err
		}
	}
}

// goOn lets the body out that waits for a 100 (Continue).
func (u *upload) goOn() {
	if u != nil {
		u.permit.Do(func() { close(u.permitted) })
	}
}

// reusable reports whether the request was sent to its end and the connection
// can be trusted with another one.
func (u *upload) reusable() bool {
	if u == nil {
		return true
	}
	select {
	case <-u.done:
		return u.err == nil && u.sent <= longUpload
	default:
		return false
	}
}

// abandon waits for the upload to end. Its connection is closed already, so
// only a read of the body can still hold it: closing the body ends that too.
func (u *upload) abandon() {
	if u == nil {
		return
	}
	u.goOn()
	_ = u.body.Close()
	<-u.done
}

// The wrappers keep io.CopyBuffer from splicing around the buffer: a body must
// be counted, and its clock kept, read by read.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

var (
	headBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
	bodyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
)

// appendHead writes the request line and the fields (RFC 9112 3 and 5). Names
// and values were validated by the server that read them; the target too.
func appendHead(b []byte, host string, req *Request) []byte {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, req.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	b = appendFields(b, req.Header)
	switch {
	case req.Body == nil:
		if req.ContentLength == 0 && expectsLength(req.Method) {
			b = append(b, "Content-Length: 0\r\n"...)
		}
	case req.ContentLength >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.ContentLength, 10)
		b = append(b, "\r\n"...)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		for name := range req.Trailer {
			b = append(append(append(b, "Trailer: "...), name...), "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// expectsLength tells the methods whose empty content is said (RFC 9110 8.6).
func expectsLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

func appendFields(b []byte, h http.Header) []byte {
	for name, values := range h {
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	return b
}
