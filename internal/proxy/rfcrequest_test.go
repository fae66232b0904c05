package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// What goes upstream of a request, by the section that asks for it: the whole
// text has each of has and none of not, in small letters.
func TestForwardedRequests(t *testing.T) {
	a := newTape()
	o := options{api: scripted(t, a.play)}
	r := newRig(t, o)
	host := "\r\nhost: " + o.api.Host + "\r\n"
	for _, tc := range []struct {
		section, name, sent string
		has, not            []string
	}{
		{"9110 2.5", "our own version for a lower one", "GET / HTTP/1.0\r\n\r\n", []string{"get / http/1.1\r\n"}, nil},
		{"9112 2.3", "our own version for a higher one", "GET / HTTP/1.9\r\nHost: x\r\n\r\n", []string{"get / http/1.1\r\n"}, nil},
		{"9112 2.2", "octets are octets", "GET /\xff\xfe\x80 HTTP/1.1\r\nHost: x\r\nX-A: \xe4\xb8\x8a\xff\r\n\r\n", []string{"get /\xff\xfe\x80 http/1.1", "x-a: \xe4\xb8\x8a\xff\r\n"}, nil},
		{"9112 3.2.2", "absolute form of http", "GET http://other.example/a?b HTTP/1.1\r\nHost: x\r\n\r\n", []string{"get /a?b http/1.1\r\n", host}, []string{"other.example", "host: x"}},
		{"9112 3.2.2", "absolute form of https, in capitals", "GET HTTPS://other.example:1/a HTTP/1.1\r\nHost: x\r\n\r\n", []string{"get /a http/1.1\r\n", host}, []string{"other.example"}},
		{"9112 3.2.4", "asterisk form", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []string{"options * http/1.1\r\n"}, nil},
		{"9112 3.2.4", "absolute form of the asterisk", "OPTIONS http://other.example:8001 HTTP/1.1\r\nHost: x\r\n\r\n", []string{"options * http/1.1\r\n", host}, nil},
		{"9112 3.2.4", "absolute form with a path", "OPTIONS http://other.example/ HTTP/1.1\r\nHost: x\r\n\r\n", []string{"options / http/1.1\r\n"}, nil},
		{"9112 3.2.4", "absolute form with a query", "OPTIONS http://other.example?a HTTP/1.1\r\nHost: x\r\n\r\n", []string{"options /?a http/1.1\r\n"}, nil},
		{"9110 7.7", "an empty path", "GET http://other.example HTTP/1.1\r\nHost: x\r\n\r\n", []string{"get / http/1.1\r\n"}, nil},
		{"9110 7.7", "path and query stay", "GET //a/../%2e?b=%41&&c HTTP/1.1\r\nHost: x\r\n\r\n", []string{"get //a/../%2e?b=%41&&c http/1.1\r\n"}, nil},
		{"9110 7.4", "https behind us is asked for in the clear", "GET https://api.anthropic.com/a HTTP/1.1\r\nHost: api.anthropic.com\r\n\r\n", []string{"get /a http/1.1\r\n"}, nil},
		{"9110 7.6.3", "Via ends here, and none is ours", "GET / HTTP/1.1\r\nHost: x\r\nVia: 1.1 a, 1.0 b\r\n\r\n", nil, []string{"via"}},
		{"9110 7.2", "a Host of our own", "GET / HTTP/1.1\r\nHost: client.example\r\n\r\n", []string{host}, []string{"client.example"}},
		{"9110 5.1", "unknown fields stay", "GET / HTTP/1.1\r\nHost: x\r\nX-New-Thing: 1\r\n\r\n", []string{"x-new-thing: 1\r\n"}, nil},
		{"9110 5.3", "lines of a field keep their order", "GET / HTTP/1.1\r\nHost: x\r\nX-A: 2\r\nX-B: 0\r\nx-a: 1\r\n\r\n", []string{"x-a: 2\r\nx-b: 0\r\nx-a: 1\r\n"}, nil},
		{"9112 5.1", "white space around a value is none of it", "GET / HTTP/1.1\r\nHost: x\r\nX-A: \t a b\t \r\nX-B:c\r\n\r\n", []string{"x-a: a b\r\n", "x-b: c\r\n"}, nil},
		{"9110 7.6.1", "Connection and what it names", "GET / HTTP/1.1\r\nHost: x\r\nConnection: x-private ,, X-Other\r\nX-Private: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n\r\n", []string{"x-kept: 3"}, []string{"x-private", "x-other", "connection"}},
		{"9110 7.6.1", "a trailer that Connection names", "POST / HTTP/1.1\r\nHost: x\r\nConnection: X-T\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, X-Kept\r\n\r\n0\r\nX-T: 1\r\nX-Kept: 2\r\n\r\n", []string{"x-kept: 2\r\n"}, []string{"x-t"}},
		{"9110 7.6.1", "fields of the hop that it does not name", "GET / HTTP/1.1\r\nHost: x\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n", nil, []string{"keep-alive", "proxy-connection", "\r\nte:", "upgrade"}},
		{"9110 7.8", "an upgrade is ignored", "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", []string{"get / "}, []string{"upgrade"}},
		{"9110 7.8", "an upgrade of HTTP/1.0 is ignored", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", []string{"get / "}, []string{"upgrade"}},
		{"9110 10.1.4", "TE ends here", "GET / HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nTE: trailers, gzip\r\n\r\n", nil, []string{"te:", "trailers"}},
		{"9110 11.6.2", "Authorization stays", "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic  a:b, c\r\n\r\n", []string{"authorization: basic  a:b, c\r\n"}, nil},
		{"9110 11.7.2", "Proxy-Authorization ends here", "GET / HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic a\r\n\r\n", nil, []string{"basic"}},
		{"9110 13.2.1", "conditions are the API's to judge", "GET / HTTP/1.1\r\nHost: x\r\nIf-Match: \"a\"\r\nIf-None-Match: *\r\nIf-Modified-Since: x\r\nIf-Unmodified-Since: y\r\nIf-Range: z\r\n\r\n",
			[]string{"if-match: \"a\"", "if-none-match: *", "if-modified-since: x", "if-unmodified-since: y", "if-range: z"}, nil},
		{"9110 14.2", "ranges are the API's to serve", "GET / HTTP/1.1\r\nHost: x\r\nRange: lines=1-2\r\n\r\n", []string{"range: lines=1-2\r\n"}, nil},
		{"9111 5.2", "cache directives stay", "GET / HTTP/1.1\r\nHost: x\r\nCache-Control: no-store, x=\"y\"\r\nPragma: no-cache\r\n\r\n", []string{"cache-control: no-store, x=\"y\"\r\n", "pragma: no-cache\r\n"}, nil},
		{"9110 7.6.2", "Max-Forwards of OPTIONS counts down", "OPTIONS / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 10\r\n\r\n", []string{"max-forwards: 9\r\n"}, []string{": 10"}},
		{"9110 7.6.2", "Max-Forwards of TRACE counts down", "TRACE / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 1\r\n\r\n", []string{"max-forwards: 0\r\n"}, []string{": 1\r\n"}},
		{"9110 7.6.2", "Max-Forwards beyond what we count", "OPTIONS / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 99999999999999999999999\r\n\r\n", []string{"max-forwards: 18446744073709551614\r\n"}, nil},
		{"9110 7.6.2", "Max-Forwards of other methods", "GET / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n", []string{"max-forwards: 0\r\n"}, nil},
		{"9110 9.3.7", "Max-Forwards is never ours", "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", nil, []string{"max-forwards"}},
		{"9110 10.1.1", "an expectation without content", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", nil, []string{"expect"}},
		{"9110 10.1.1", "an expectation of HTTP/1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", []string{"{}"}, []string{"expect"}},
		{"9110 10.1.1", "any expectation of HTTP/1.0", "POST / HTTP/1.0\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n{}", []string{"{}"}, []string{"expect"}},
		{"9112 6.1", "chunks are chunked once", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", []string{"transfer-encoding: chunked\r\n", "\r\n\r\n2\r\n{}\r\n0\r\n\r\n"}, []string{"content-length"}},
		{"9112 7.1.1", "extensions end here", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\n{}\r\n0;c\r\n\r\n", []string{"2\r\n{}\r\n0\r\n\r\n"}, []string{";"}},
		{"9112 7.1.2", "a trailer never becomes a header", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", []string{"\r\n0\r\nx-t: 1\r\n\r\n"}, []string{"x-u"}},
		{"9112 6.2", "one length of one message", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0002\r\n\r\n{}", []string{"content-length: 2\r\n"}, []string{"transfer-encoding", "0002"}},
		{"9112 6.3", "no length is no content", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", []string{"content-length: 0\r\n"}, nil},
		{"9110 8.6", "a length among the Connection options", "POST / HTTP/1.1\r\nHost: x\r\nConnection: content-length, host\r\nContent-Length: 2\r\n\r\n{}", []string{"content-length: 2\r\n", host}, nil},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			c := r.dial()
			c.send("%s", tc.sent)
			res, _ := c.answer(http.MethodPost)
			for res.StatusCode == http.StatusContinue {
				res, _ = c.answer(http.MethodPost)
			}
			if res.StatusCode != http.StatusOK {
				t.Fatalf("status %d", res.StatusCode)
			}
			got := lowered(<-a.heard)
			for _, s := range tc.has {
				if !strings.Contains(got, s) {
					t.Errorf("the API got %q, without %q", got, s)
				}
			}
			for _, s := range tc.not {
				if strings.Contains(got, s) {
					t.Errorf("the API got %q, with %q", got, s)
				}
			}
		})
	}
}

// lowered has small letters; what is no letter of ASCII stays as it is.
func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// What is answered here, by the section that asks for it, without a byte to the
// API.
func TestAnsweredHere(t *testing.T) {
	a := newTape()
	r := newRig(t, options{api: scripted(t, a.play)})
	for _, tc := range []struct {
		section, name, sent string
		status              int
	}{
		{"9110 9.3.6", "CONNECT", "CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 9.3.6", "CONNECT to no port", "CONNECT other.example: HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 9.3.6", "CONNECT to an impossible port", "CONNECT other.example:99999 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9112 3.2.3", "authority form of another method", "GET other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9112 3.2.4", "asterisk form of another method", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 4.2.1", "http without a host", "GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 4.2.1", "http with a port alone", "GET http://:80/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 4.2.1", "http with a user alone", "GET http://a:b@/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 4.2.2", "https without a host", "GET https://?a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9112 3.2.2", "another scheme", "GET ftp://other.example/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9112 3.2.2", "a scheme in the middle", "GET a?b=http://other.example/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9112 3.2.2", "a fragment for a path", "GET http://other.example#/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"9110 7.6.2", "OPTIONS that may go no further", "OPTIONS /v1 HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n", 204},
		{"9110 7.6.2", "OPTIONS * that may go no further", "OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n", 204},
		{"9110 7.6.2", "OPTIONS with a number that is none", "OPTIONS /v1 HTTP/1.1\r\nHost: x\r\nMax-Forwards: -1\r\n\r\n", 204},
		{"9110 7.6.2", "OPTIONS with two numbers", "OPTIONS /v1 HTTP/1.1\r\nHost: x\r\nMax-Forwards: 5\r\nMax-Forwards: 0\r\n\r\n", 204},
		{"9110 7.6.2", "TRACE that may go no further", "TRACE /v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary\r\nMax-Forwards: 0\r\n\r\n", 501},
		{"9110 9.1", "GET of a page of ours", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"9110 14.2", "a range of a page of ours is ignored", "GET /health HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n", 200},
		{"9110 13.2.1", "a condition that would not be asked", "POST http:///a HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 0\r\n\r\n", 400},
		{"9112 6.3", "a length that is none", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2x\r\n\r\n{}", 400},
		{"9112 6.3", "chunked that is not last", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			c := r.dial()
			c.send("%s", tc.sent)
			res, body := c.answer(http.MethodPost)
			if res.StatusCode != tc.status || strings.Contains(body, "canary") {
				t.Errorf("status %d, want %d: %q", res.StatusCode, tc.status, body)
			}
			// Who answers says when (9110 6.6.1), as it is said (9110 5.6.7).
			if _, err := time.Parse(http.TimeFormat, res.Header.Get("Date")); err != nil {
				t.Errorf("the date is %q", res.Header.Get("Date"))
			}
		})
	}
	if got := a.take(); len(got) > 0 {
		t.Errorf("the API got %q", got)
	}
}

// No error of ours has a status that needs a field with it: a challenge, the
// methods that are allowed, another protocol, a range; and none is a success
// (9110 7.8, 9110 10.2.1, 9110 11.6.1, 9110 11.7.1, 9110 15.3.6).
func TestNoStatusOfOursNeedsAField(t *testing.T) {
	for c := range causes {
		switch s := table[c].status; {
		case s == 401, s == 405, s == 407, s == 416, s == 426, 100 <= s && s < 400:
			t.Errorf("%s is told as %d", table[c].name, s)
		}
	}
}
