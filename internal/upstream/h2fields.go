package upstream

import (
	"errors"
	"strings"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
)

var errUploadBroke = errors.New("the request body ended before its end")

// headerOf copies the regular fields of a head. Their names get the spelling
// that clients of HTTP/1 are used to.
func headerOf(f *http2.MetaHeadersFrame) headers.Fields {
	fields := f.RegularFields()
	h := make(headers.Fields, len(fields), len(fields)+1)
	for i, field := range fields {
		h[i] = headers.Field{Name: headers.Canonical(field.Name), Value: field.Value}
	}
	return h
}

// announced are the names in the Trailer field of a head.
func announced(h headers.Fields) (names []string) {
	for line := range h.Values("Trailer") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, headers.Canonical(strings.TrimSpace(name)))
		}
	}
	return names
}
