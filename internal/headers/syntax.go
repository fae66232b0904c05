package headers

import (
	"iter"
	"net/textproto"
	"strings"
)

// ows is the optional whitespace of RFC 9110 5.6.3.
const ows = " \t"

// members yields the members of a comma-separated list, trimmed, without the
// empty ones that RFC 9110 5.6.1 tells recipients to ignore.
func members(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(line, ",") {
			if m := strings.Trim(part, ows); m != "" && !yield(m) {
				return
			}
		}
	}
}

// protected names the headers that no rule may touch, and why.
var protected = map[string]string{
	"Authorization":       "is the client's credential and passes through untouched",
	"X-Api-Key":           "is the client's credential and passes through untouched",
	"Host":                "is taken from the upstream URL",
	"Content-Length":      "frames the message and belongs to the transport",
	"Connection":          hopByHop,
	"Proxy-Connection":    hopByHop,
	"Keep-Alive":          hopByHop,
	"Te":                  hopByHop,
	"Trailer":             hopByHop,
	"Transfer-Encoding":   hopByHop,
	"Upgrade":             hopByHop,
	"Http2-Settings":      hopByHop,
	"Proxy-Authenticate":  hopByHop,
	"Proxy-Authorization": hopByHop,
}

const hopByHop = "is hop-by-hop: it ends at this proxy and never reaches the API"

func checkName(name string) error {
	if name == "" {
		return &RuleError{"name", "is missing", "write the name of the header to add"}
	}
	if !isToken(name) {
		return &RuleError{"name", "is not a header name",
			"use letters, digits and !#$%&'*+-.^_`|~ only; the value has a key of its own"}
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if why, ok := protected[canonical]; ok {
		return &RuleError{"name", strings.ToLower(canonical) + " " + why, "remove this rule"}
	}
	return nil
}

func checkValue(value string) error {
	switch {
	case value == "":
		return &RuleError{"value", "is missing", "write the value of the header to add"}
	case strings.Trim(value, ows) != value:
		return &RuleError{"value", "begins or ends with a space", "trim it"}
	case strings.ContainsFunc(value, isControl):
		return &RuleError{"value", "contains a control character", "write it as one line of plain text"}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// isToken reports whether s is a token of RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
