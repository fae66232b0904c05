package upstream

import (
	"errors"
	"net/http"
	"strings"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
)

var errUploadBroke = errors.New("the request body ended before its end")

// headerOf copies the regular fields of a head.
func headerOf(f *http2.MetaHeadersFrame) headers.Fields {
	fields := f.RegularFields()
	h := make(headers.Fields, len(fields), len(fields)+1)
	for i, field := range fields {
		h[i] = headers.Field{Name: field.Name, Value: field.Value}
	}
	return h
}

// announced are the names in the Trailer field of a head.
func announced(h headers.Fields) (names []string) {
	for line := range h.Values("Trailer") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	return names
}
