package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const sectionUpstream = "ProxyUpstreamErrors"

func lookTLS(ctx context.Context, e *examination) Finding {
	u := e.Config.Proxy.Upstream
	switch {
	case !e.connected:
		return skipped("there is no connection")
	case u.Scheme != "https" && e.Config.Proxy.EgressProxy == nil:
		e.secured = true
		return skipped("the API is asked without TLS (%s)", u)
	}
	conn, err := e.dial(ctx)
	if err != nil {
		return fail(fmt.Sprintf("no connection to the API: %v", err), "Ask whoever runs the egress proxy whether it lets this machine through to the API.", sectionUpstream)
	}
	defer conn.Close()
	if u.Scheme != "https" {
		e.secured = true
		return skipped("the API is asked without TLS (%s)", u)
	}
	secure := tls.Client(conn, e.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		return untrusted(err)
	}
	e.secured = true
	state := secure.ConnectionState()
	leaf := state.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	says := fmt.Sprintf("%s, %s, issued by %s, expires in %d d", tls.VersionName(state.Version), orNothing(state.NegotiatedProtocol), issuer(leaf), int(left.Hours()/24))
	const soon = 7 * 24 * time.Hour
	switch {
	case left < soon:
		return warn(says, "The certificate is not ours to renew: if the issuer is your own, tell who runs the inspecting proxy.", sectionUpstream)
	case state.NegotiatedProtocol != "h2":
		return warn(says+"; HTTP/2 was not offered", "Something between here and the API speaks HTTP/1.1 alone: each stream takes a connection of its own.", sectionUpstream)
	}
	return ok("%s", says)
}

func (e *examination) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: e.Config.Proxy.Upstream.Hostname(), RootCAs: e.Config.Proxy.UpstreamRoots,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

func untrusted(err error) Finding {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(err, &authority):
		who := "an unknown authority"
		if authority.Cert != nil {
			who = issuer(authority.Cert)
		}
		return fail("the certificate is issued by "+who+", whom this machine does not trust",
			"If that is your own inspecting proxy, name its CA in proxy.upstream_ca_file. If not, somebody stands in the way.", sectionUpstream)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail("the certificate has expired, or this machine's clock is wrong", "Look at the clock below; then tell who runs what stands before the API.", sectionUpstream)
	case errors.As(err, &name):
		return fail("the certificate is for another name", "Look at what the name of the API leads to: something else answers there.", sectionUpstream)
	}
	return fail(fmt.Sprintf("no TLS: %v", err), "Look for what cuts TLS between here and the API: a firewall, or an inspecting proxy.", sectionUpstream)
}

func issuer(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}

func orNothing(protocol string) string {
	if protocol == "" {
		return "no ALPN"
	}
	return protocol
}

// answer is the head of the API's.
type answer struct {
	code  int
	date  time.Time
	asked time.Time
	took  time.Duration
}

// lookHTTP asks without a credential: to be refused is to have arrived.
func lookHTTP(ctx context.Context, e *examination) Finding {
	if !e.secured {
		return skipped("there is no secure connection")
	}
	transport := &http.Transport{
		Proxy: nil, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: e.tlsConfig(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
	}
	transport.TLSClientConfig.NextProtos = nil // the transport's own
	client := plain()
	client.Transport = transport
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Config.Proxy.Upstream.String()+"/v1/models", nil)
	if err != nil {
		return fail(err.Error(), "Correct proxy.upstream_url.", "")
	}
	req.Header.Set("Anthropic-Version", "2023-06-01")
	a := answer{asked: time.Now()}
	res, err := client.Do(req)
	if err != nil {
		return fail("no answer: "+bare(err), "The connection stands, so ask at Anthropic's status page, and look at what inspects HTTP in between.", sectionUpstream)
	}
	_ = res.Body.Close()
	a.code, a.took = res.StatusCode, time.Since(a.asked)
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	e.answered = &a
	switch {
	case a.code == http.StatusUnauthorized:
		return ok("401 without a credential, as it should be, by %s in %s", res.Proto, ms(a.took))
	case a.code >= 500:
		return fail(fmt.Sprintf("it answers %d", a.code), "Look at Anthropic's status page; clients retry by themselves.", sectionUpstream)
	}
	return warn(fmt.Sprintf("it answers %d where 401 is expected", a.code), "Make sure that proxy.upstream_url is the Claude API, and that no page of a portal answers in its place.", sectionUpstream)
}

// bare is an error without the URL that net/http puts around it.
func bare(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}

func lookClock(_ context.Context, e *examination) Finding {
	switch {
	case e.answered == nil:
		return skipped("there is no answer of the API")
	case e.answered.date.IsZero():
		return skipped("the API did not say what time it is")
	}
	const tolerable, wrong = 30 * time.Second, 5 * time.Minute
	a := e.answered
	off := a.asked.Add(a.took / 2).Sub(a.date) // a Date has no fractions
	says := fmt.Sprintf("this machine is %s off the API's", off.Round(time.Second))
	const next = "Synchronise the node's clock (chrony, systemd-timesyncd): certificates and keys are judged by it."
	switch distance := off.Abs(); {
	case distance > wrong:
		return fail(says, next, "")
	case distance > tolerable:
		return warn(says, next, "")
	}
	return ok("%s", says)
}
