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
		got := targetOf(&edge.Request{Method: method, Target: uri})
		switch {
		case got == "":
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

// A target may carry a password (RFC 3986 3.2.1) or anything else. Only what
// goes upstream is told, without its query.
func TestTargetsTellNoSecret(t *testing.T) {
	o, _ := mirror(t, fine)
	r := newRig(t, o)
	for _, line := range []string{
		"GET http://user:canary@canary/v1/models?canary", "CONNECT canary:443", "GET canary", "CONNECT http://canary/", "OPTIONS canary://",
	} {
		c := r.dial()
		c.send("%s HTTP/1.1\r\nHost: x\r\n\r\n", line)
		c.answer("GET")
	}
	last := r.dial()
	last.send("GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
	last.answer("GET")
	for r.record().Path != "/last" {
	}
	if log := r.journal.String(); strings.Contains(log, "canary") {
		t.Errorf("the log holds it:\n%s", log)
	}
	c := r.dial()
	c.send("GET http://x/health HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, body := c.answer("GET"); body != "local" {
		t.Errorf("our own page in absolute form: %q", body)
	}
}
