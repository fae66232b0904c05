package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"time"
)

// h2Conn is an HTTP/2 connection, shared by many requests.
type h2Conn struct {
	pool *Pool
	cc   *http.ClientConn
}

// The windows bound what a client that does not read can make us hold: at most
// h2StreamWindow per stream, and a connection's window is wide enough for all
// of its streams, so that stalled clients never starve the others.
const (
	h2StreamWindow = 128 << 10
	h2ConnWindow   = 32 << 20
)

type handoverKey struct{}

// newH2Transport makes the transport that turns a negotiated TLS connection
// into an HTTP/2 one. It never dials and pools nothing.
func newH2Transport() *http.Transport {
	var only http.Protocols
	only.SetHTTP2(true)
	return &http.Transport{
		Protocols:              &only,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeadBytes,
		ExpectContinueTimeout:  continueTimeout,
		IdleConnTimeout:        5 * time.Minute,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     h2StreamWindow,
			MaxReceiveBufferPerConnection: h2ConnWindow,
			// A path that died without a word is found within 45 s, on
			// connections where nothing else arrives.
			SendPingTimeout: 30 * time.Second,
			PingTimeout:     15 * time.Second,
		},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(handoverKey{}).(*tls.Conn), nil
		},
	}
}

func (p *Pool) newH2Conn(ctx context.Context, secure *tls.Conn) (*h2Conn, error) {
	cc, err := p.h2.NewClientConn(context.WithValue(ctx, handoverKey{}, secure), "https", p.address)
	if err != nil {
		return nil, err
	}
	return &h2Conn{pool: p, cc: cc}, nil
}

func (c *h2Conn) roundTrip(ctx context.Context, req *Request) (*Response, error) {
	if req.Interim != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
				if status != http.StatusContinue {
					req.Interim(status, http.Header(h))
				}
				return nil
			},
		})
	}
	res, err := c.cc.RoundTrip(c.request(ctx, req))
	if err != nil {
		return nil, &Error{Stage: stage(err), Err: err}
	}
	out := &Response{
		Status: res.StatusCode, Header: res.Header,
		ContentLength: res.ContentLength, Trailer: res.Trailer,
	}
	out.Body = &h2Body{from: res, to: out}
	return out, nil
}

// request dresses req for net/http. The target travels as an opaque URL with
// the authority in front: net/http takes that off again and sends the rest
// untouched, where a parsed path would be cleaned and escaped anew.
func (c *h2Conn) request(ctx context.Context, req *Request) *http.Request {
	h := req.Header
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // present without a value: none is made up
	}
	r := &http.Request{
		Method: req.Method,
		URL: &url.URL{
			Scheme: "https", Host: c.pool.target.Host,
			Opaque: "//" + c.pool.target.Host + req.Target,
		},
		Host: c.pool.target.Host, Header: h,
		ContentLength: req.ContentLength, Trailer: req.Trailer,
	}
	if req.Target == "*" {
		r.URL.Opaque = "*"
	}
	if req.Body != nil {
		r.Body = req.Body
	}
	return r.WithContext(ctx)
}

// streamError has the shape of net/http's own unexported one, which copies
// itself into it.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "HTTP/2 stream error" }

const refusedStream = 0x7 // RFC 9113 7

// net/http keeps these two errors to itself, so their text is all there is to
// go by. Tests meet both with a real server and would notice a change in Go.
const (
	goAwayText   = "http2: Transport received Server's graceful shutdown GOAWAY"
	unusableText = "http2: client conn not usable"
)

// stage judges a failure: the request never left when the connection had
// closed before, it was refused when the API said so in the protocol, and may
// have been processed otherwise.
func stage(err error) Stage {
	var se streamError
	if errors.As(err, &se) && se.Code == refusedStream {
		return Refused
	}
	switch err.Error() {
	case goAwayText:
		return Refused
	case unusableText:
		return Unsent
	}
	return Sent
}

// h2Body hands over the trailers, which net/http may only make at the end.
type h2Body struct {
	from *http.Response
	to   *Response
}

func (b *h2Body) Read(p []byte) (int, error) {
	n, err := b.from.Body.Read(p)
	if err == io.EOF {
		b.to.Trailer = b.from.Trailer
	}
	return n, err
}

func (b *h2Body) Close() error { return b.from.Body.Close() }
