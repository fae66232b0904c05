package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// ConnectTimeout bounds an attempt to connect: the look-up of the name, and
// for all of its addresses together TCP, an egress proxy's consent and TLS.
const ConnectTimeout = 5 * time.Second

// headStart is what an address gets before the next one is tried beside it
// (RFC 8305 5).
const headStart = 250 * time.Millisecond

// connector opens connections to one API, directly or through an egress proxy.
// It is safe for concurrent use.
type connector struct {
	host, port string // of the API
	tls        *tls.Config
	dial       func(ctx context.Context, network, address string) (net.Conn, error)
	lookup     func(ctx context.Context, host string) ([]netip.Addr, error)
	egress     *egress
}

// link is an open connection.
type link struct {
	raw       net.Conn  // the socket
	stream    net.Conn  // what HTTP is spoken on: the socket, or TLS over it
	secure    *tls.Conn // nil without TLS to the API
	below     *gatherer // what secure writes to
	handshake time.Duration
	expires   time.Time // of the API's certificate; zero without TLS
}

func (l *link) close() { _ = l.raw.Close() }

func (l *link) speaksHTTP2() bool {
	return l.secure != nil && l.secure.ConnectionState().NegotiatedProtocol == "h2"
}

func newConnector(target *url.URL, o Options) *connector {
	host, port := HostPort(target)
	k := &connector{host: host, port: port, dial: o.Dial, lookup: o.Lookup}
	if k.dial == nil {
		k.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
		if k.lookup == nil {
			k.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
				return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			}
		}
	}
	if target.Scheme == "https" {
		k.tls = clientTLS(o.TLS, host)
		k.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	if o.EgressProxy != nil {
		k.egress = newEgress(o, net.JoinHostPort(host, port))
	}
	return k
}

func clientTLS(base *tls.Config, host string) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.DynamicRecordSizingDisabled = true // nobody waits for half an upload
	c.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// HostPort is where an http or https URL leads to.
func HostPort(u *url.URL) (host, port string) {
	if port = u.Port(); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname(), port
}

// connect opens one connection, by whichever address is ready first. Its
// errors are of type *Error.
func (k *connector) connect(ctx context.Context) (*link, error) {
	host, port := k.host, k.port
	if k.egress != nil {
		host, port = k.egress.host, k.egress.port
	}
	addresses, err := k.addresses(ctx, host, port)
	if err != nil {
		return nil, &Error{Stage: Unsent, Dial: true, Cause: causeOf(err), Err: err}
	}
	return k.race(ctx, addresses)
}

// addresses are host's, its families in turn (RFC 8305 4). A dialer of the
// caller's gets the name itself.
func (k *connector) addresses(ctx context.Context, host, port string) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil || k.lookup == nil {
		return []string{net.JoinHostPort(host, port)}, nil
	}
	found, err := k.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	var first, second []netip.Addr // the family of the resolver's first choice, and the other
	for _, a := range found {
		if a = a.Unmap(); a.Is4() == found[0].Unmap().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	var out []string
	for i := range found {
		for _, family := range [][]netip.Addr{first, second} {
			if i < len(family) {
				out = append(out, net.JoinHostPort(family[i].String(), port))
			}
		}
	}
	return out, nil
}

// race tries the addresses in turn, each headStart after the one before it or
// as soon as that has failed, until one is ready for a request: an address that
// takes TCP and no TLS must not cost the others their turn (RFC 8305 5).
func (k *connector) race(ctx context.Context, addresses []string) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		link *link
		err  *Error
	}
	results := make(chan result)
	begun, open := 0, 0
	begin := func() {
		address := addresses[begun]
		begun++
		open++
		go func() {
			l, err := k.one(ctx, address)
			results <- result{l, err}
		}()
	}
	defer func() {
		cancel()
		for ; open > 0; open-- { // those that lost: cancelled, they end at once
			if r := <-results; r.link != nil {
				r.link.close()
			}
		}
	}()
	begin()
	next := time.NewTimer(headStart)
	defer next.Stop()
	var worst *Error
	for {
		select {
		case r := <-results:
			open--
			if r.err == nil {
				return r.link, nil
			}
			if worst == nil || telling(r.err.Cause) > telling(worst.Cause) {
				worst = r.err
			}
			if begun == len(addresses) && open == 0 {
				return nil, worst
			}
		case <-next.C:
		}
		if begun < len(addresses) {
			begin()
			next.Reset(headStart)
		}
	}
}

// one opens a connection to one address.
func (k *connector) one(ctx context.Context, address string) (*link, *Error) {
	raw, err := k.dial(ctx, "tcp", address)
	if err != nil {
		return nil, &Error{Stage: Unsent, Dial: true, Cause: causeOf(err), Err: err}
	}
	l := &link{raw: raw, stream: raw}
	if k.egress != nil {
		if l.stream, err = k.egress.tunnel(ctx, raw); err != nil {
			l.close()
			return nil, &Error{Stage: Unsent, Dial: true, Cause: causeOf(err), Err: err}
		}
	}
	if k.tls == nil {
		return l, nil
	}
	start := time.Now()
	l.below = &gatherer{Conn: l.stream}
	l.secure = tls.Client(l.below, k.tls)
	l.stream = l.secure
	if err := l.secure.HandshakeContext(ctx); err != nil {
		l.close()
		cause := causeOf(err)
		if cause == CauseOther {
			cause = CauseTLS
		}
		return nil, &Error{Stage: Unsent, Dial: true, TLS: true, Cause: cause, Err: err}
	}
	l.handshake = time.Since(start)
	l.expires = expiry(l.secure.ConnectionState().PeerCertificates)
	return l, nil
}

// expiry is when the first of a chain's certificates ends.
func expiry(chain []*x509.Certificate) (first time.Time) {
	for _, c := range chain {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// egressError is a refusal of the egress proxy.
type egressError struct{ err error }

func (e *egressError) Error() string { return fmt.Sprintf("egress proxy: %v", e.err) }
func (e *egressError) Unwrap() error { return e.err }
