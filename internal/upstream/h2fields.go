package upstream

import (
	"errors"
	"net/http"
	"strings"

	"anthropic-oauth-proxy/internal/headers"
)

var errUploadBroke = errors.New("the request body ended before its end")

// announced are the names in the Trailer field of a head.
func announced(h headers.Fields) (names []string) {
	for line := range h.Values("Trailer") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	return names
}
