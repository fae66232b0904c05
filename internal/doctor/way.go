package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/upstream"
)

// door is where the way to the API begins: its own address, or the egress
// proxy's.
func (e *examination) door() (host, port, what string) {
	u, what := e.Config.Proxy.Upstream, "the API"
	if p := e.Config.Proxy.EgressProxy; p != nil {
		u, what = p.URL, "the egress proxy"
	}
	host, port = upstream.HostPort(u)
	return host, port, what
}

func lookDNS(ctx context.Context, e *examination) Finding {
	host, port, what := e.door()
	if ip, err := netip.ParseAddr(host); err == nil {
		e.addresses = []string{net.JoinHostPort(ip.String(), port)}
		return ok("%s is an address: %s", what, host)
	}
	resolver := e.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	began := time.Now()
	found, err := resolver.LookupHost(ctx, host)
	if err != nil {
		return fail(fmt.Sprintf("%s (%s) is not found: %v", host, what, err),
			"Look at /etc/resolv.conf and, in a cluster, at the NetworkPolicy: UDP and TCP 53 must reach the resolver.", sectionUpstream)
	}
	for _, ip := range found {
		e.addresses = append(e.addresses, net.JoinHostPort(ip, port))
	}
	return ok("%s is %s, in %s", host, strings.Join(found, ", "), ms(time.Since(began)))
}

func lookAddresses(ctx context.Context, e *examination) Finding {
	_, _, what := e.door()
	if len(e.addresses) == 0 {
		return skipped("none is known")
	}
	each := patience / time.Duration(2*len(e.addresses))
	var answers, failures []string
	for _, address := range e.addresses {
		ctx, cancel := context.WithTimeout(ctx, each)
		began := time.Now()
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		cancel()
		if err != nil {
			failures = append(failures, err.Error())
			continue
		}
		_ = conn.Close()
		answers = append(answers, fmt.Sprintf("%s in %s", address, ms(time.Since(began))))
	}
	e.connected = len(answers) > 0
	const next = "Look at the firewall and, in a cluster, at the NetworkPolicy: TCP must leave to these addresses."
	switch {
	case !e.connected:
		return fail(fmt.Sprintf("no address of %s takes a connection: %s", what, strings.Join(failures, "; ")), next, sectionUpstream)
	case len(failures) > 0:
		return warn(fmt.Sprintf("%d of %d addresses of %s take no connection: %s; others do: %s", len(failures), len(e.addresses), what, strings.Join(failures, "; "), strings.Join(answers, ", ")),
			"Connections go to the others. "+next, sectionUpstream)
	}
	return ok("%s", strings.Join(answers, ", "))
}

// dial opens a connection to the API, through the egress proxy where one is
// configured.
func (e *examination) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	var conn net.Conn
	var err error
	for _, address := range e.addresses {
		if conn, err = d.DialContext(ctx, "tcp", address); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if deadline, bounded := ctx.Deadline(); bounded {
		_ = conn.SetDeadline(deadline)
	}
	proxy := e.Config.Proxy.EgressProxy
	if proxy == nil {
		return conn, nil
	}
	o := upstream.Options{TLS: &tls.Config{RootCAs: e.Config.Proxy.UpstreamRoots}, EgressProxy: proxy.URL, EgressAuthorization: proxy.Authorization.Reveal()}
	tunnel, err := o.Tunnel(ctx, conn, e.Config.Proxy.Upstream)
	if err != nil {
		_ = conn.Close()
	}
	return tunnel, err
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
