package proxy

import (
	"net/http"
	"strings"

	"anthropic-oauth-proxy/internal/edge"
)

// targetOf is the request target that goes upstream: the client's own, byte for
// byte. Of an absolute-form target only path and query count, so that nobody
// can steer the proxy elsewhere (RFC 9112 3.2.2). It is empty for a
// request line that cannot be forwarded: what stands there may be anything, a
// password included, and is told to nobody.
func targetOf(r *edge.Request) string {
	t := r.Target
	switch {
	case r.Method == http.MethodConnect:
		return ""
	case strings.HasPrefix(t, "/"), t == "*" && r.Method == http.MethodOptions:
	default:
		_, rest, ok := strings.Cut(t, "://")
		if !ok {
			return ""
		}
		i := strings.IndexAny(rest, "/?")
		switch {
		case i < 0:
			t = "/"
		case rest[i] == '?':
			t = "/" + rest[i:]
		default:
			t = rest[i:]
		}
	}
	if !fitsALine(t) || !fitsALine(r.Method) {
		return ""
	}
	return t
}

// fitsALine refuses what would break an HTTP/1.1 request line; HTTP/2 carries
// it.
func fitsALine(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// pathOf is the target without its query.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
