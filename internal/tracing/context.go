package tracing

import (
	"encoding/hex"
	"strings"
)

// parent is a trace context from outside (W3C Trace Context, "traceparent").
type parent struct {
	trace   [16]byte
	span    [8]byte
	sampled bool
}

// readParent understands a traceparent of version 00, or of a later one as far
// as it is the same.
func readParent(text string) (p parent, ok bool) {
	parts := strings.Split(strings.TrimSpace(text), "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 || strings.ToLower(text) != text {
		return p, false
	}
	var version, flags [1]byte
	for _, field := range []struct {
		to   []byte
		text string
	}{{version[:], parts[0]}, {p.trace[:], parts[1]}, {p.span[:], parts[2]}, {flags[:], parts[3]}} {
		if len(field.text) != 2*len(field.to) {
			return p, false
		}
		if _, err := hex.Decode(field.to, []byte(field.text)); err != nil {
			return p, false
		}
	}
	p.sampled = flags[0]&1 == 1
	return p, p.trace != [16]byte{} && p.span != [8]byte{}
}
