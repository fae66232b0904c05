package edge

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// httpBody is a request's content from net/http's server.
type httpBody struct {
	c *httpClient

	mu      sync.Mutex
	reading bool
	begun   bool
	done    error // what every further Read says
	cut     bool  // Close ended a Read
}

func (b *httpBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.done != nil {
		defer b.mu.Unlock()
		return 0, b.done
	}
	b.reading, b.begun = true, true
	b.mu.Unlock()
	n, err := b.c.r.Body.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if err != nil && b.done == nil {
		b.done = b.c.sort(err)
	}
	return n, b.done
}

func (b *httpBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done != nil {
		return nil
	}
	b.done = ErrClosed
	if b.reading {
		b.cut = true
		_ = b.c.rc.SetReadDeadline(past)
	}
	return nil
}

// ended reports whether the content was read to its end.
func (b *httpBody) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done == io.EOF
}

// wasCut reports whether Close interrupted a Read: what the connection says
// after that need not come from the client.
func (b *httpBody) wasCut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cut
}

// sort maps what reading can fail with.
func (c *httpClient) sort(err error) error {
	var ne net.Error
	var stream http2.StreamError
	switch {
	case err == io.EOF:
		return io.EOF
	case c.r.Context().Err() != nil, errors.As(err, &stream):
		c.leave(ErrGone)
		return ErrGone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &ne), errors.Is(err, net.ErrClosed):
		c.leave(ErrGone)
		return ErrGone
	}
	return ErrMalformed
}

// leaveUpload deals with an upload that an answer left behind. Its connection
// is of no more use: the server would take the rest for the next request. As
// for a body over a limit of its own, it closes the connection slowly then.
//
// First it reads on for a while: a connection that is closed under an upload
// is reset, and the answer may be lost with it. Who waits for 100 (Continue)
// has sent nothing yet, and will not now.
func (c *httpClient) leaveUpload() {
	b := c.body
	b.mu.Lock()
	waits := len(c.r.Header["Expect"]) > 0 && !b.begun
	readable := b.done == nil || b.done == ErrClosed
	b.mu.Unlock()
	if !waits && readable {
		_ = c.rc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.r.Body, lingerBytes)
	}
	_ = c.rc.SetReadDeadline(past)
	one := io.NopCloser(strings.NewReader("1"))
	_, _ = http.MaxBytesReader(c.w, one, 0).Read(make([]byte, 1))
}
