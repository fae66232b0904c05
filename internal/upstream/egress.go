package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// egress is an HTTP proxy through which alone the API can be reached: it is
// asked for a tunnel with CONNECT (RFC 9110 9.3.6). It resolves the API's name.
type egress struct {
	host, port    string
	tls           *tls.Config // nil for one that is spoken to in plain text
	target        string      // host:port of the API
	authorization string
}

func newEgress(o Options, target string) *egress {
	e := &egress{target: target, authorization: o.EgressAuthorization}
	e.host, e.port = HostPort(o.EgressProxy)
	if o.EgressProxy.Scheme == "https" {
		e.tls = clientTLS(o.TLS, e.host)
		e.tls.ServerName = e.host
		e.tls.NextProtos = []string{"http/1.1"}
	}
	return e
}

// Tunnel has the egress proxy at the other end of c lead to the API, as a [Pool]
// has it done. It never shows the credentials.
func (o Options) Tunnel(ctx context.Context, c net.Conn, api *url.URL) (net.Conn, error) {
	return newEgress(o, net.JoinHostPort(HostPort(api))).tunnel(ctx, c)
}

// tunnel makes a connection to the proxy one to the API. What fails is of type
// *egressError, and never shows the credentials.
func (e *egress) tunnel(ctx context.Context, c net.Conn) (net.Conn, error) {
	if e.tls != nil {
		secure := tls.Client(c, e.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &egressError{err}
		}
		c = secure
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err := e.ask(c)
	if !stop() {
		return nil, &egressError{context.Cause(ctx)}
	}
	if err != nil {
		return nil, &egressError{err}
	}
	return c, nil
}

// errTalkative: TLS to the API begins with our own words, so nothing may come
// before them.
var errTalkative = errors.New("it sent something before it was asked")

func (e *egress) ask(c net.Conn) error {
	head := "CONNECT " + e.target + " HTTP/1.1\r\nHost: " + e.target + "\r\n"
	if e.authorization != "" {
		head += "Proxy-Authorization: " + e.authorization + "\r\n"
	}
	if _, err := c.Write([]byte(head + "\r\n")); err != nil {
		return err
	}
	br := bufio.NewReader(io.LimitReader(c, maxHeadBytes))
	status := http.StatusContinue
	for status/100 == 1 && status != http.StatusSwitchingProtocols { // RFC 9110 15.2
		res, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return errors.New("it did not answer as an HTTP proxy does")
		}
		status = res.StatusCode
	}
	if status/100 != 2 {
		return fmt.Errorf("it answered CONNECT with status %d", status)
	}
	if br.Buffered() > 0 {
		return errTalkative
	}
	return nil
}
