package edge

import (
	"errors"
	"io"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
)

// h2body is a request's content from net/http's server.
type h2body struct {
	x *h2exchange
	reading
}

func (b *h2body) Read(p []byte) (int, error) {
	if done := b.begin(); done != nil {
		return 0, done
	}
	n, err := b.x.r.Body.Read(p)
	if t := b.x.req.Trailer; err == io.EOF && t != nil {
		t.Fields = headers.FromHTTP(b.x.r.Trailer)
	}
	return n, b.end(b.sort(err))
}

func (b *h2body) Close() error {
	b.close(b.x.rc)
	return nil
}

// sort maps what reading can fail with.
func (b *h2body) sort(err error) error {
	var stream http2.StreamError
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.As(err, &stream), b.x.r.Context().Err() != nil, b.x.conn.hungUp():
		b.x.leave(ErrGone)
		return ErrGone
	}
	return ErrMalformed
}
