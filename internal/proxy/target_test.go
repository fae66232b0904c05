package proxy

import (
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/edge"
)

// Whatever the target, what goes upstream fits a request line, begins with a
// slash or is the asterisk, and is the end of what the client sent.
func FuzzTarget(f *testing.F) {
	for _, tc := range targets {
		f.Add("GET", tc.sent)
	}
	f.Add("OPTIONS", "*")
	f.Add("CONNECT", "a:1")
	f.Add("GET", "://")
	f.Add("GET", "a://b\r\nX: y")
	f.Fuzz(func(t *testing.T, method, uri string) {
		got, ok := targetOf(&edge.Request{Method: method, Target: uri})
		switch {
		case !ok:
			if got != "" {
				t.Errorf("%s %q: refused with %q", method, uri, got)
			}
		case strings.ContainsAny(got+method, " \t\r\n\x00\x7f"):
			t.Errorf("%s %q: %q breaks the line", method, uri, got)
		case got == "*":
			if method != "OPTIONS" {
				t.Errorf("%s %q: got *", method, uri)
			}
		case got[0] != '/' || got != "/" && !strings.HasSuffix(uri, got) && !(got[1] == '?' && strings.HasSuffix(uri, got[1:])):
			t.Errorf("%s %q: got %q", method, uri, got)
		case uri[0] == '/' && got != uri:
			t.Errorf("%s %q: changed into %q", method, uri, got)
		}
	})
}
