package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// address is a parsed listen address. The host is unspecified when the file
// names none.
type address struct {
	host netip.Addr
	port uint16
}

// defaultPorts are those of the schemes that a URL here may have.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseAddress accepts IP addresses and localhost, no other names: what a name
// resolves to at start-up is a surprise that nobody needs.
func parseAddress(s string) (address, bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isPlain(host) {
		return address{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, false
	}
	switch {
	case host == "":
		return address{netip.IPv6Unspecified(), uint16(n)}, true
	case strings.EqualFold(host, "localhost"):
		return address{netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n)}, true
	}
	ip, err := netip.ParseAddr(host)
	return address{ip.Unmap(), uint16(n)}, err == nil
}

// clashes reports whether two sockets cannot be bound at the same time.
func (a address) clashes(b address) bool {
	return a.port == b.port && a.port != 0 && (a.host == b.host || a.host.IsUnspecified() || b.host.IsUnspecified())
}

// answers reports whether a request to u would arrive at this very address.
func (a address) answers(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	target, ok := parseAddress(net.JoinHostPort(u.Hostname(), port))
	return ok && target.host.IsLoopback() && a.clashes(target)
}

// parseUpstream validates the upstream URL. Neither result shows it: what
// stands before an @ or after a ? may be a credential.
func parseUpstream(raw string) (u *url.URL, problem, remedy string) {
	const example = "write scheme and host only, such as https://api.anthropic.com"
	u, err := url.Parse(raw)
	switch {
	case err != nil || !isPlain(raw):
		return nil, "is not a URL", example
	case u.Scheme == "":
		return nil, "has no scheme", example
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "has a scheme other than https and http", example
	case u.User != nil:
		return nil, "contains a user name or password", "remove it: credentials come from the client"
	case u.Host == "" || u.Hostname() == "":
		return nil, "has no host", example
	case !isHost(u.Hostname()):
		return nil, "has a malformed host", example
	case !validPort(u):
		return nil, "has a malformed port", "write a port from 1 to 65535, or none"
	case strings.ContainsAny(raw, "?#"):
		return nil, "contains a query or a fragment", "remove it: the client's own query goes through"
	case u.Path != "" && u.Path != "/":
		return nil, "contains a path", "remove it: the client's path goes through byte for byte"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, "is plain http to a host that is not loopback", "write https: tokens must not travel in the clear"
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, "", ""
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// isLoopback says whether traffic to a host stays on this machine, without
// asking a resolver.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// isHost accepts IP addresses and DNS names, with or without the final dot.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return isPlain(s) // a zone may be anything
	}
	s = strings.TrimSuffix(s, ".")
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return len(s) <= 253
}

// isLabel accepts one part of a DNS name.
func isLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 63
}
