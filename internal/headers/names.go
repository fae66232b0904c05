package headers

import (
	"maps"
	"slices"
	"strings"
)

// kind says what a name means to a proxy.
type kind uint8

const (
	// framing belongs to a message on one connection, beside what Connection
	// names (RFC 9110 7.6.1). The transport writes its own.
	framing kind = 1 << iota
	// written is the transport's too, but goes through this proxy in its place.
	written
	// private tells who called and through what. It may be forged on its way
	// here, and the API has no business with it; so have names with the
	// prefixes below.
	private
	// leading belongs in front of a message: whoever merges a trailer into a
	// header, as many do, would frame, route, authorize or decode by it
	// (RFC 9110 6.5.1).
	leading
	// secret is a credential: many clients share a connection to the API, and
	// must not share a compression table for it (RFC 7541 7.1.3).
	secret
)

const (
	forwardedPrefix = "X-Forwarded-"
	tailnetPrefix   = "Tailscale-"
	conditionPrefix = "If-" // leading
)

// kinds are the names that mean something. The transport writes its own Host,
// and a client of HTTP/2 may send one beside :authority.
var kinds = map[string]kind{
	"Connection": framing, "Proxy-Connection": framing, "Keep-Alive": framing, "Te": framing, "Trailer": framing,
	"Transfer-Encoding": framing, "Upgrade": framing, "Http2-Settings": framing, "Proxy-Authenticate": framing, "Proxy-Authorization": framing,
	"Content-Length": written | leading, "Host": written | leading,
	"Forwarded": private, "Via": private, "X-Real-Ip": private,
	"Authorization": leading | secret, "X-Api-Key": leading | secret, "Cookie": leading | secret,
	"Content-Encoding": leading, "Content-Type": leading, "Content-Range": leading, "Content-Location": leading, "Content-Language": leading,
	"Www-Authenticate": leading, "Authentication-Info": leading, "Set-Cookie": leading, "Cache-Control": leading, "Expect": leading,
	"Max-Forwards": leading, "Pragma": leading, "Range": leading, "Location": leading, "Age": leading, "Date": leading, "Expires": leading,
	"Retry-After": leading, "Vary": leading,
}

// usual are the other names that clients send. No request pays for their
// spelling.
var usual = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Version",
	"Idempotency-Key", "Sec-Fetch-Mode", "User-Agent", "X-App", "X-Claude-Code-Session-Id", "X-Client-Request-Id",
	"X-Stainless-Arch", "X-Stainless-Async", "X-Stainless-Helper-Method", "X-Stainless-Lang", "X-Stainless-Os",
	"X-Stainless-Package-Version", "X-Stainless-Read-Timeout", "X-Stainless-Retry-Count",
	"X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout",
}

// known is a name that needs no spelling.
type known struct {
	lower string
	kind  kind
}

// table has the known names by their length: few are compared.
var table = func() (t [64][]known) {
	for _, name := range slices.Concat(usual, slices.Collect(maps.Keys(kinds))) {
		t[len(name)] = append(t[len(name)], known{strings.ToLower(name), kinds[name]})
	}
	return t
}()

// lookup finds a known name in any case; nil when it is none.
func lookup(name string) *known {
	if len(name) >= len(table) {
		return nil
	}
	for i := range table[len(name)] {
		if k := &table[len(name)][i]; strings.EqualFold(k.lower, name) {
			return k
		}
	}
	return nil
}

// is reports whether a name is of any of the kinds.
func is(name string, of kind) bool {
	if k := lookup(name); k != nil {
		return k.kind&of != 0
	}
	return of&private != 0 && (Begins(name, forwardedPrefix) || Begins(name, tailnetPrefix)) ||
		of&leading != 0 && Begins(name, conditionPrefix)
}

// Begins reports whether a name has a prefix.
func Begins(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// Lower spells a name as HTTP/2 wants it (RFC 9113 8.2), and reports whether its
// value is a secret that must not be indexed.
func Lower(name string) (lower string, sensitive bool) {
	if k := lookup(name); k != nil {
		return k.lower, k.kind&secret != 0
	}
	return strings.ToLower(name), false
}
