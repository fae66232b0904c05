package edge

import (
	"bytes"
	"net/http"
	"net/url"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// pageTimeout bounds how long a client may take to read a page of our own.
const pageTimeout = 30 * time.Second

// ServePage answers a client with a plain handler of net/http: a page of our
// own, which is small and at once. The handler sees no body.
func ServePage(c Client, h http.Handler) {
	req := c.Request()
	r := (&http.Request{
		Method: req.Method, RequestURI: req.Target, Host: req.Host, Header: req.Header.HTTP(), RemoteAddr: c.Peer(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
	}).WithContext(c.Context())
	var err error
	if r.URL, err = url.ParseRequestURI(req.Target); err != nil {
		r.URL = &url.URL{Path: "/"}
	}
	p := page{header: http.Header{}}
	h.ServeHTTP(&p, r)
	if p.status == 0 {
		p.status = http.StatusOK
	}
	p.header.Set("Date", time.Now().UTC().Format(http.TimeFormat)) // RFC 9110 6.6.1
	_ = c.SetWriteDeadline(time.Now().Add(pageTimeout))
	c.Respond(Head{Status: p.status, Header: headers.FromHTTP(p.header), ContentLength: int64(p.content.Len())})
	if _, err := c.Write(p.content.Bytes()); err == nil {
		_ = c.Finish(nil)
	}
}

// page keeps what a handler answers.
type page struct {
	header  http.Header
	status  int
	content bytes.Buffer
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *page) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.content.Write(b)
}
