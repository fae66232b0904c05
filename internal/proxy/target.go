package proxy

import (
	"net/http"
	"strings"

	"anthropic-oauth-proxy/internal/edge"
)

// targetOf is the request target that goes upstream: the client's own, byte for
// byte. Of an absolute-form target only path and query count, so that nobody
// can steer the proxy elsewhere (RFC 9112 3.2.2, 3.2.4). It is empty for a
// request line that cannot be forwarded: what stands there may be anything, a
// password included, and is told to nobody.
func targetOf(r *edge.Request) string {
	t := r.Target
	switch {
	case r.Method == http.MethodConnect:
		return ""
	case strings.HasPrefix(t, "/"), t == "*" && r.Method == http.MethodOptions:
	default:
		behind, ok := behindHost(t)
		switch {
		case !ok:
			return ""
		case behind == "" && r.Method == http.MethodOptions:
			t = "*"
		case strings.HasPrefix(behind, "/"):
			t = behind
		default:
			t = "/" + behind
		}
	}
	if !fitsALine(t) || !fitsALine(r.Method) {
		return ""
	}
	return t
}

// behindHost is what follows the host of a target in absolute form. There must
// be one, behind a scheme that is HTTP's (RFC 9110 4.2).
func behindHost(t string) (rest string, ok bool) {
	scheme, rest, ok := strings.Cut(t, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
	rest = rest[end:]
	return rest, host != "" && host[0] != ':' && !strings.HasPrefix(rest, "#")
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
