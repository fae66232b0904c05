package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"anthropic-oauth-proxy/internal/headers"
)

// Upper limits: far above what makes sense, far below what overflows.
const (
	maxDuration    = 24 * time.Hour
	minDuration    = time.Millisecond
	maxConnections = 1_000_000
	maxBodyMiB     = 1 << 20 // 1 TiB
)

// checker collects every problem of a document, so that one run shows them all.
type checker struct {
	source string
	keys   positions
	errs   []*Error
}

// fail blames a key, on its own line or, when the file lacks it, on that of its
// table.
func (c *checker) fail(key, problem, remedy string) {
	at, written := c.keys[key]
	if !written {
		at = c.keys[key[:strings.LastIndexByte(key, '.')]]
	}
	c.errs = append(c.errs, &Error{
		File: c.source, Line: at.Line, Column: at.Column, Key: key, Problem: problem, Remedy: remedy,
	})
}

// build validates a document and gives it its types. envErr is what was wrong
// with the environment; it comes first.
func build(source string, doc document, keys positions, env environment, envErr error) (Config, error) {
	c := &checker{source: source, keys: keys}
	cfg := Config{
		Source:    source,
		Tailscale: c.tailscale(doc, env),
		Proxy:     c.proxy(doc),
		Headers:   c.headers(doc.Headers),
		LogLevel:  env.logLevel,
	}
	slices.SortStableFunc(c.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	errs := []error{envErr}
	for _, err := range c.errs {
		errs = append(errs, err)
	}
	if err := joined(errs...); err != nil {
		return Config{}, err
	}
	cfg.Warnings = warnings(cfg, env)
	cfg.inForce = inForce(doc, cfg)
	return cfg, nil
}

// What is wrong with a name that is no DNS label, and what would be right.
const (
	notALabel   = "is not a MagicDNS short name"
	labelRemedy = "use 1 to 63 letters, digits and hyphens, without dots"
)

func (c *checker) tailscale(doc document, env environment) Tailscale {
	in := doc.Tailscale
	out := Tailscale{
		Mode:             Mode(in.Mode),
		Hostname:         strings.ToLower(cmp.Or(env.hostname, in.Hostname)),
		Socket:           cmp.Or(env.socket, in.Socket, defaults().Tailscale.Socket),
		PollInterval:     c.duration("tailscale.poll_interval_secs", in.PollIntervalSecs),
		ConnectTimeout:   c.duration("tailscale.connect_timeout_secs", in.ConnectTimeoutSecs),
		StateDir:         in.StateDir,
		AuthKey:          env.authKey,
		ReachabilityPeer: in.ReachabilityPeer,
		IdentifyCallers:  in.IdentifyCallers,
	}
	if out.Mode != ModeSidecar && out.Mode != ModeOff {
		c.fail("tailscale.mode", "is unknown", `write "sidecar" or "off"`)
	}
	if !isLabel(in.Hostname) {
		c.fail("tailscale.hostname", notALabel, labelRemedy)
	}
	if problem, remedy := checkSocket(in.Socket); problem != "" {
		c.fail("tailscale.socket", problem, remedy)
	}
	if !isPlain(in.StateDir) {
		c.fail("tailscale.state_dir", "is not plain text", "remove control characters")
	}
	if in.ReachabilityPeer != "" && !isHost(in.ReachabilityPeer) {
		c.fail("tailscale.reachability_peer", "is neither a name nor an IP address", "name a peer of the tailnet, without port or scheme")
	}
	if !out.AuthKey.IsSet() && in.AuthKeyFile != "" {
		out.AuthKey = c.authKey(in.AuthKeyFile)
	}
	return out
}

// authKey reads a key file. The path is not shown: it may be the key itself,
// in the wrong place.
func (c *checker) authKey(path string) Secret {
	const key = "tailscale." + authKeyFile
	data, err := readFile(path, maxFileBytes)
	if err != nil {
		c.fail(key, "cannot be read: "+err.Error(), "name a readable file, or remove the key: the sidecar logs in by itself")
		c.errs[len(c.errs)-1].cause = err
		return Secret{}
	}
	secret := NewSecret(strings.TrimSpace(string(data)))
	if !secret.IsSet() {
		c.fail(key, "names an empty file", "write the key into it, or remove the key: the sidecar logs in by itself")
	}
	return secret
}

func (c *checker) proxy(doc document) Proxy {
	in := doc.Proxy
	out := Proxy{
		ListenAddr:     in.ListenAddr,
		AdminAddr:      in.AdminAddr,
		HeaderTimeout:  c.duration("proxy.timeout_secs", in.TimeoutSecs),
		IdleTimeout:    c.duration("proxy.idle_timeout_secs", in.IdleTimeoutSecs),
		QueueTimeout:   c.durationOrZero("proxy.queue_timeout_secs", in.QueueTimeoutSecs),
		DrainTimeout:   c.durationOrZero("proxy.drain_timeout_secs", in.DrainTimeoutSecs),
		MaxConnections: int(c.count("proxy.max_connections", in.MaxConnections, maxConnections)),
		MaxBodyBytes:   c.count("proxy.max_body_mib", in.MaxBodyMiB, maxBodyMiB) << 20,
		UpstreamCAFile: in.UpstreamCAFile,
		UpstreamRoots:  c.roots(in.UpstreamCAFile),
		EgressProxy:    c.egressProxy(in.EgressProxy),
		AdminPprof:     in.AdminPprof,
	}
	listen, listenOK := c.address("proxy.listen_addr", in.ListenAddr)
	admin, adminOK := c.address("proxy.admin_addr", in.AdminAddr)
	if listenOK && adminOK && listen.clashes(admin) {
		mine, other := "proxy.admin_addr", "proxy.listen_addr"
		if _, written := c.keys[mine]; !written {
			mine, other = other, mine
		}
		c.fail(mine, "clashes with "+other, "give it another port")
	}
	out.Upstream = c.upstream(in.UpstreamURL)
	if out.Upstream != nil && listenOK && listen.answers(out.Upstream) {
		c.fail("proxy.upstream_url", "is this proxy's own address", "name the API")
	}
	if out.EgressProxy != nil && listenOK && listen.answers(out.EgressProxy.URL) {
		c.fail("proxy.egress_proxy", "is this proxy's own address", "name the network's HTTP proxy")
	}
	if out.AdminPprof && adminOK && !admin.host.IsLoopback() {
		c.fail("proxy.admin_pprof", "needs a proxy.admin_addr that is loopback", "remove it, or bind the admin port to 127.0.0.1: profiles are for whoever is on this machine")
	}
	return out
}

func (c *checker) upstream(raw string) *url.URL {
	const key = "proxy.upstream_url"
	u, problem, remedy := parseUpstream(raw)
	if problem != "" {
		c.fail(key, problem, remedy)
		return nil
	}
	return u
}

// roots reads the file of upstream_ca_file, if one is named.
func (c *checker) roots(path string) *x509.CertPool {
	const key = "proxy.upstream_ca_file"
	switch {
	case path == "":
		return nil
	case !isPlain(path):
		c.fail(key, "is not plain text", "write the path of a PEM file")
		return nil
	}
	roots, err := readRoots(path)
	if err != nil {
		c.fail(key, err.Error(), "name a PEM file with the certificates of the network's CA, and with nothing else")
		c.errs[len(c.errs)-1].cause = err
	}
	return roots
}

func (c *checker) egressProxy(raw string) *EgressProxy {
	if raw == "" {
		return nil
	}
	p, problem, remedy := parseEgressProxy(raw)
	if problem != "" {
		c.fail("proxy.egress_proxy", problem, remedy)
	}
	return p
}

func (c *checker) address(key, addr string) (address, bool) {
	a, ok := parseAddress(addr)
	if !ok {
		c.fail(key, "is not an address", "write host:port, the host being an IP address, localhost or empty, the port a number up to 65535")
	}
	return a, ok
}

func (c *checker) duration(key string, secs float64) time.Duration {
	if secs == 0 {
		c.fail(key, "is zero", "write the seconds to wait")
		return 0
	}
	return c.durationOrZero(key, secs)
}

func (c *checker) durationOrZero(key string, secs float64) time.Duration {
	switch {
	case secs == 0:
		return 0
	case math.IsNaN(secs) || math.IsInf(secs, 0):
		c.fail(key, "is not a finite number", "write the seconds to wait")
	case secs < 0:
		c.fail(key, "is negative", "write the seconds to wait")
	case secs < minDuration.Seconds():
		c.fail(key, "is too small", "write at least 0.001 seconds")
	case secs > maxDuration.Seconds():
		c.fail(key, "is too large", fmt.Sprintf("write at most %v seconds, a day", maxDuration.Seconds()))
	default:
		return time.Duration(math.Round(secs * float64(time.Second)))
	}
	return 0
}

func (c *checker) count(key string, n, limit int64) int64 {
	switch {
	case n == 0:
		c.fail(key, "is zero", "write a positive number")
	case n < 0:
		c.fail(key, "is negative", "write a positive number")
	case n > limit:
		c.fail(key, "is too large", fmt.Sprintf("write at most %d", limit))
	default:
		return n
	}
	return 0
}

func (c *checker) headers(in []headerRule) []headers.Rule {
	rules := make([]headers.Rule, 0, len(in))
	for i, h := range in {
		item := fmt.Sprintf("headers[%d].", i)
		rule, err := headers.NewRule(h.Name, h.Value, h.Mode)
		if refused := (*headers.RuleError)(nil); errors.As(err, &refused) {
			c.fail(item+refused.Field, refused.Problem, refused.Remedy)
			continue
		}
		before := func(r headers.Rule) bool { return r.Name() == rule.Name() }
		if rule.Mode() == headers.ModeSet && slices.ContainsFunc(rules, before) {
			c.fail(item+"name", "overrides an earlier rule for the same header", "keep one of the two")
		}
		rules = append(rules, rule)
	}
	return rules
}

// checkSocket returns what is wrong with a socket path; empty means default.
func checkSocket(path string) (problem, remedy string) {
	const longest = 107 // sockaddr_un holds 108 bytes with the final zero
	switch {
	case !isPlain(path):
		return "is not plain text", "remove control characters"
	case len(path) > longest:
		return "is longer than a socket path can be", fmt.Sprintf("use at most %d bytes", longest)
	}
	return "", ""
}

// isPlain reports whether s is text of one line.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
