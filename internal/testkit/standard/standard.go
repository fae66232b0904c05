// Package standard does the engine's work with the standard library: the oracle
// that the engine is held against. What both do the same is HTTP, what they do
// differently is written down in specs/decisions.md.
package standard

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// Engine sends requests by the library. It is safe for concurrent use.
type Engine struct {
	target *url.URL
	via    http.RoundTripper
	end    func()
}

// New makes an Engine over an [http.Transport], for an http or https URL. The
// owner must Close it.
func New(target *url.URL, o upstream.Options) *Engine {
	t := transport(o)
	t.ForceAttemptHTTP2 = true
	return &Engine{target, t, t.CloseIdleConnections}
}

func transport(o upstream.Options) *http.Transport {
	conf := &tls.Config{}
	if o.TLS != nil {
		conf = o.TLS.Clone()
	}
	return &http.Transport{
		DialContext: o.Dial, TLSClientConfig: conf, DisableCompression: true,
		MaxIdleConnsPerHost: 256, MaxResponseHeaderBytes: 256 << 10, ExpectContinueTimeout: time.Second,
	}
}

// Close ends idle connections.
func (s *Engine) Close() { s.end() }

// RoundTrip is [upstream.Pool.RoundTrip]. It knows less of a failure: what
// GOAWAY excludes counts as sent, because the library does not say so.
func (s *Engine) RoundTrip(ctx context.Context, req *upstream.Request) (*upstream.Response, error) {
	var connected, sent atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteHeaders: func() { sent.Store(true) },
		Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			if req.Interim != nil && status != http.StatusContinue {
				req.Interim(status, headers.FromHTTP(http.Header(h)))
			}
			return nil
		},
	}
	res, err := s.via.RoundTrip(s.request(httptrace.WithClientTrace(ctx, trace), req))
	if err != nil {
		e := &upstream.Error{Stage: upstream.Sent, Dial: !connected.Load(), Err: err}
		if !sent.Load() {
			e.Stage = upstream.Unsent
		}
		var reset http2.StreamError
		if errors.As(err, &reset) && reset.Code == http2.ErrCodeRefusedStream {
			e.Stage = upstream.Refused
		}
		if ctx.Err() != nil {
			e.Err = context.Cause(ctx)
		}
		return nil, e
	}
	out := &upstream.Response{Status: res.StatusCode, Header: headers.FromHTTP(res.Header), ContentLength: res.ContentLength}
	out.Trailer = headers.Announced(slices.Collect(maps.Keys(res.Trailer)))
	out.Body = &body{res, out}
	return out, nil
}

// request is req as the library wants it: the target as opaque as it allows.
func (s *Engine) request(ctx context.Context, req *upstream.Request) *http.Request {
	u := &url.URL{Scheme: s.target.Scheme, Host: s.target.Host, Opaque: req.Target}
	if strings.HasPrefix(req.Target, "//") { // it would become the absolute form
		path, query, found := strings.Cut(req.Target, "?")
		u.Opaque, u.RawQuery, u.ForceQuery = "", query, found
		u.Path, _ = url.PathUnescape(path)
		u.RawPath = path
	}
	out := (&http.Request{
		Method: req.Method, URL: u, Host: s.target.Host, Header: req.Header.HTTP(), Body: req.Body,
		ContentLength: req.ContentLength, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if req.Trailer != nil {
		out.Trailer = http.Header{}
		for _, name := range req.Trailer.Names {
			out.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
		out.Body = upload{req.Body, req.Trailer, out.Trailer}
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // none of the library's own
	}
	return out
}

// upload hands the trailers over at its end.
type upload struct {
	io.ReadCloser
	from *headers.Trailer
	to   http.Header
}

func (u upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err == io.EOF {
		maps.Copy(u.to, u.from.Fields.HTTP())
	}
	return n, err
}

// body hands the trailers over at its end.
type body struct {
	res *http.Response
	out *upstream.Response
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.res.Body.Read(p)
	if err != nil {
		b.out.Trailer = b.out.Trailer.With(headers.FromHTTP(b.res.Trailer))
	}
	return n, err
}

func (b *body) Close() error { return b.res.Body.Close() }
