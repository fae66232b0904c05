package upstream

import (
	"errors"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http2"
)

var errUploadBroke = errors.New("the request body ended before its end")

// known maps the usual field names between the canonical form of net/http and
// the lower case of HTTP/2, so that no request pays for making them.
var canonicalOf, lowerOf = func() (canonical, lower map[string]string) {
	canonical, lower = make(map[string]string), make(map[string]string)
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Alt-Svc", "Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access",
		"Anthropic-Organization-Id", "Anthropic-Version", "Authorization", "Cache-Control", "Cf-Cache-Status", "Cf-Ray",
		"Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Date", "Expect", "Location", "Request-Id", "Retry-After", "Server",
		"Set-Cookie", "Strict-Transport-Security", "User-Agent", "Vary", "Via", "X-Api-Key", "X-App", "X-Claude-Code-Session-Id",
		"X-Envoy-Upstream-Service-Time", "X-Robots-Tag", "X-Should-Retry", "X-Stainless-Arch", "X-Stainless-Lang", "X-Stainless-Os",
		"X-Stainless-Package-Version", "X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version",
		"X-Stainless-Timeout", "X-Stainless-Helper-Method",
	} {
		l := strings.ToLower(name)
		canonical[l], lower[name] = name, l
	}
	return canonical, lower
}()

func lower(name string) string {
	if l, ok := lowerOf[name]; ok {
		return l
	}
	return strings.ToLower(name)
}

func canonicalName(name string) string {
	if c, ok := canonicalOf[name]; ok {
		return c
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// headerOf copies the regular fields of a head. One slice holds all values.
func headerOf(f *http2.MetaHeadersFrame) http.Header {
	fields := f.RegularFields()
	h := make(http.Header, len(fields))
	values := make([]string, len(fields))
	for i, field := range fields {
		name := canonicalName(field.Name)
		if old := h[name]; old != nil {
			h[name] = append(old, field.Value)
			continue
		}
		values[i] = field.Value
		h[name] = values[i : i+1 : i+1]
	}
	return h
}

// announced takes the Trailer field out of a head and returns its names.
func announced(h http.Header) http.Header {
	lines := h["Trailer"]
	if len(lines) == 0 {
		return nil
	}
	delete(h, "Trailer")
	t := make(http.Header)
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			t[textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))] = nil
		}
	}
	return t
}
