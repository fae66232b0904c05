package headers

import (
	"net/http"
	"net/textproto"
	"strings"
)

// private names the request headers that tell who called and through what.
// They may be forged on their way here, and the API has no business with them;
// so have names with the prefixes below.
var private = map[string]bool{"Forwarded": true, "Via": true, "X-Real-Ip": true}

const (
	forwardedPrefix = "X-Forwarded-"
	tailnetPrefix   = "Tailscale-"
)

// framing belongs to a message on one connection, beside what Connection
// names (RFC 9110 7.6.1). The transport writes its own.
var framing = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Http2-Settings": true,
	"Proxy-Authenticate": true, "Proxy-Authorization": true,
}

// Request returns what goes upstream of a client's header: its end-to-end
// fields without those that tell about the tailnet, then obedient to the
// rules. The map is new; its slices are the client's and must not be written.
func Request(in http.Header, rules []Rule) http.Header {
	out := make(http.Header, len(in)+len(rules))
	named := connectionNames(in)
	for name, values := range in {
		if !stays(name) && !named[name] {
			out[name] = values
		}
	}
	for _, r := range rules {
		r.Apply(out)
	}
	return out
}

// stays reports whether a request field ends at this proxy. The transport
// writes its own Host, and a client of HTTP/2 may send one beside :authority.
func stays(name string) bool {
	return framing[name] || private[name] || name == "Content-Length" || name == "Host" ||
		strings.HasPrefix(name, forwardedPrefix) || strings.HasPrefix(name, tailnetPrefix)
}

// RequestTrailer returns the names in the trailer of a request with the header
// that may go upstream, without values; nil when there are none.
func RequestTrailer(in, header http.Header) http.Header { return trailer(in, header, stays) }

// AnswerTrailer is the same for the trailer of an answer.
func AnswerTrailer(in, header http.Header) http.Header {
	return trailer(in, header, func(name string) bool { return framing[name] })
}

// leading belongs in front of a message: whoever merges a trailer into a header,
// as many do, would frame, route, authorize or decode by it (RFC 9110 6.5.1).
var leading = map[string]bool{
	"Content-Length": true, "Host": true,
	"Content-Encoding": true, "Content-Type": true, "Content-Range": true, "Content-Location": true, "Content-Language": true,
	"Authorization": true, "X-Api-Key": true, "Www-Authenticate": true, "Authentication-Info": true, "Cookie": true, "Set-Cookie": true,
	"Cache-Control": true, "Expect": true, "Max-Forwards": true, "Pragma": true, "Range": true, "Location": true,
	"Age": true, "Date": true, "Expires": true, "Retry-After": true, "Vary": true,
}

func trailer(in, header http.Header, ends func(name string) bool) http.Header {
	if len(in) == 0 {
		return nil
	}
	var out http.Header
	named := connectionNames(header)
	for name := range in {
		if ends(name) || leading[name] || named[name] || strings.HasPrefix(name, "If-") {
			continue
		}
		if out == nil {
			out = make(http.Header, len(in))
		}
		out[name] = nil
	}
	return out
}

// Response adds to dst the end-to-end fields of an answer. The slices are
// shared.
func Response(dst, src http.Header) {
	named := connectionNames(src)
	for name, values := range src {
		if !framing[name] && !named[name] {
			dst[name] = values
		}
	}
}

// connectionNames is what the Connection lines of h name; nil in the common
// case that they name nothing but the connection's own fate.
func connectionNames(h http.Header) map[string]bool {
	var named map[string]bool
	for _, line := range h["Connection"] {
		if strings.EqualFold(line, "keep-alive") || strings.EqualFold(line, "close") {
			continue
		}
		for m := range members(line) {
			if named == nil {
				named = make(map[string]bool)
			}
			named[textproto.CanonicalMIMEHeaderKey(m)] = true
		}
	}
	return named
}
