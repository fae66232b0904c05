package upstream

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"anthropic-oauth-proxy/internal/headers"
)

var errUploadBroke = errors.New("the request body ended before its end")

// announced are the names in the Trailer field of a head; what is none is left
// out.
func announced(h headers.Fields) (names []string) {
	for line := range h.Values("Trailer") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); httpguts.ValidHeaderFieldName(name) {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}

var errLengths = errors.New("upstream's answer has two lengths")

// declared is the length that a head names, -1 when it names none. More than one
// is as good as one when they are the same (RFC 9110 8.6).
func declared(h headers.Fields) (int64, error) {
	length := int64(-1)
	for line := range h.Values("Content-Length") {
		n, err := strconv.ParseUint(line, 10, 63)
		if err != nil {
			return 0, err
		}
		if length >= 0 && length != int64(n) {
			return 0, errLengths
		}
		length = int64(n)
	}
	return length, nil
}
