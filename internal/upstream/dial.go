package upstream

import (
	"context"
	"crypto/tls"
)

// connect opens one connection and finds out what it speaks.
func (p *Pool) connect(ctx context.Context) (*h1Conn, *h2Conn, error) {
	raw, err := p.dialer(ctx, "tcp", p.address)
	if err != nil {
		return nil, nil, &Error{Stage: Unsent, Dial: true, Err: err}
	}
	if p.tls == nil {
		return newH1Conn(p, raw, raw), nil, nil
	}
	secure := tls.Client(raw, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, &Error{Stage: Unsent, Dial: true, TLS: true, Err: err}
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		return newH1Conn(p, raw, secure), nil, nil
	}
	h2, err := newH2Conn(raw, secure, p.target.Host)
	if err != nil {
		_ = raw.Close()
		return nil, nil, &Error{Stage: Unsent, Dial: true, Err: err}
	}
	return nil, h2, nil
}
