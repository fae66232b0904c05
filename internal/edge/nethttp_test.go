package edge

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// newNetHTTP is New with all protocols by net/http's server, which is lenient
// where RFC 9112 is not.
func newNetHTTP(h Handler, o Options) *Server {
	s := newServer("proxy", o)
	server := http2Server(netHTTP{h}, o, narrowWindow)
	server.Protocols.SetHTTP1(true)
	s.engine = server
	return s
}

// netHTTP serves a Handler by net/http's server: HTTP/2 as the product does,
// and HTTP/1 as the reference that our own server is held against.
type netHTTP struct{ h Handler }

func (n netHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		overHTTP2(n).ServeHTTP(w, r)
		return
	}
	x := newReference(w, r)
	defer x.release()
	n.h.ServeExchange(x)
	x.end()
}

// reference is a Client over HTTP/1 of net/http's server: the product's over
// HTTP/2, and what a connection of its own needs beside that.
type reference struct {
	*h2exchange
	server  http.ResponseWriter
	upload  upload
	cut     atomic.Bool // a deadline of ours ended a read
	unwatch func() bool
}

func newReference(w http.ResponseWriter, r *http.Request) *reference {
	x := &reference{server: w}
	ctx, leave := context.WithCancel(context.WithoutCancel(r.Context()))
	x.unwatch = context.AfterFunc(r.Context(), func() {
		// When we end a read, the server believes that the client left; from
		// then on only a failed write tells.
		if !x.cut.Load() {
			leave()
		}
	})
	r = r.WithContext(ctx)
	if r.Body != http.NoBody {
		x.upload.ReadCloser = r.Body
		r.Body = &x.upload
	}
	x.h2exchange = newH2Exchange(referenceWriter{w, x}, r)
	x.req.Proto = HTTP10
	if r.ProtoAtLeast(1, 1) {
		x.req.Proto = HTTP11
	}
	return x
}

func (x *reference) release() {
	x.unwatch()
	x.h2exchange.release()
}

func (x *reference) Abort() {
	x.h2exchange.Abort()
	if x.req.Proto == HTTP10 && x.head.ContentLength < 0 {
		_ = x.conn.Reset() // its end is the answer's: a quiet one would be a lie
		return
	}
	_ = x.conn.Close()
}

func (x *reference) end() {
	if !x.finished {
		x.Abort()
	}
	x.h2exchange.end()
	if x.unread() {
		x.leaveUpload()
	}
}

// unread reports whether the rest of the request stands between it and the
// next one on the connection.
func (x *reference) unread() bool { return x.body != nil && !x.body.ended() }

// leaveUpload deals with an upload that an answer left behind. Its connection
// is of no more use: the server would take the rest for the next request. As
// for a body over a limit of its own, it closes the connection slowly then.
//
// First it reads on for a while: a connection that is closed under an upload
// is reset, and the answer may be lost with it. Who waits for 100 (Continue)
// has sent nothing yet, and will not now.
func (x *reference) leaveUpload() {
	rc := http.NewResponseController(x.server)
	waits := len(x.r.Header["Expect"]) > 0 && !x.upload.begun.Load()
	x.body.mu.Lock()
	readable := x.body.done == nil || x.body.done == ErrClosed
	x.body.mu.Unlock()
	if !waits && readable {
		_ = rc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, &x.upload, lingerBytes)
	}
	_ = rc.SetReadDeadline(past)
	one := io.NopCloser(strings.NewReader("1"))
	_, _ = http.MaxBytesReader(x.server, one, 0).Read(make([]byte, 1))
}

// upload is a body that knows whether it was asked for.
type upload struct {
	io.ReadCloser
	begun atomic.Bool
}

func (u *upload) Read(p []byte) (int, error) {
	u.begun.Store(true)
	return u.ReadCloser.Read(p)
}

// referenceWriter tells the server what HTTP/1 needs said.
type referenceWriter struct {
	http.ResponseWriter
	x *reference
}

// Unwrap is for the ResponseController.
func (w referenceWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w referenceWriter) SetReadDeadline(t time.Time) error {
	w.x.cut.Store(true)
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func (w referenceWriter) WriteHeader(status int) {
	x := w.x
	if isInterim(status) {
		if x.req.Proto == HTTP11 {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	if x.unread() {
		// Without it the server closes the body under an upload as soon as an
		// early answer begins (golang/go#40747).
		_ = http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
	}
	if x.head.Close || x.unread() {
		w.Header()["Connection"] = []string{"close"}
	}
	w.ResponseWriter.WriteHeader(status)
}
