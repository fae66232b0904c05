package config

import (
	"encoding/base64"
	"net"
	"net/url"
	"strings"
)

// EgressProxy is an HTTP proxy on the way to the API, to be asked with CONNECT.
type EgressProxy struct {
	// URL has a scheme (http or https), a host and a port, and nothing else.
	URL *url.URL
	// Authorization is the value of Proxy-Authorization, unset for none.
	Authorization Secret
}

// String shows that there are credentials, and never which. It is empty for
// nil.
func (p *EgressProxy) String() string {
	if p == nil {
		return ""
	}
	shown := p.URL.Scheme + "://"
	if p.Authorization.IsSet() {
		shown += redacted + "@"
	}
	return shown + p.URL.Host
}

// parseEgressProxy validates the URL of an egress proxy. None of its results
// shows the credentials.
func parseEgressProxy(raw string) (p *EgressProxy, problem, remedy string) {
	const example = "write scheme, host and port, such as http://proxy.example.com:3128"
	scheme, rest, _ := strings.Cut(raw, "://")
	authority, after := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, after = rest[:end], rest[end:]
	}
	// Credentials are cut off by hand: url.Parse would quote them in its errors,
	// and refuse the [redacted] that a print of ours contains.
	at := strings.LastIndexByte(authority, '@')
	u, err := url.Parse(scheme + "://" + authority[at+1:])
	switch {
	case err != nil || !isPlain(raw):
		return nil, "is not a URL", example
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "has a scheme other than http and https", example
	case u.Hostname() == "":
		return nil, "has no host", example
	case !isHost(u.Hostname()):
		return nil, "has a malformed host", example
	case !validPort(u):
		return nil, "has a malformed port", "write a port from 1 to 65535, or none"
	case after != "" && after != "/":
		return nil, "contains a path, a query or a fragment", example
	}
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	p = &EgressProxy{URL: &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), port)}}
	if at < 0 {
		return p, "", ""
	}
	user, password, _ := strings.Cut(authority[:at], ":")
	user, userErr := url.PathUnescape(user)
	password, passwordErr := url.PathUnescape(password)
	if userErr != nil || passwordErr != nil || user == "" || strings.Contains(user, ":") || !isPlain(user+password) {
		return nil, "has malformed credentials", "write USER:PASSWORD@ before the host, with %25 for %, %2F for / and %3A for :"
	}
	p.Authorization = NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	return p, "", ""
}
