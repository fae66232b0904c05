package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/testkit"
)

// What reaches a client of an answer, by the section that asks for it: all that
// comes until the end of the connection has each of has and none of not, in small
// letters.
func TestForwardedAnswers(t *testing.T) {
	const get, old = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"
	const head = "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	with := func(lines string) string { return "HTTP/1.1 200 OK\r\n" + lines + "\r\nContent-Length: 4\r\n\r\nfine" }
	for _, tc := range []struct {
		section, name, sent, answer string
		has, not                    []string
	}{
		{"9112 2.3", "our own version", get, "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", []string{"http/1.1 200 "}, nil},
		{"9112 4", "a space behind the status", get, "HTTP/1.1 529 \r\nContent-Length: 4\r\n\r\nfine", []string{"http/1.1 529 \r\n"}, nil},
		{"9110 15", "a status that nobody knows", get, "HTTP/1.1 799 X\r\nContent-Length: 4\r\n\r\nfine", []string{"http/1.1 799 ", "fine"}, nil},
		{"9112 2.2", "a bare CR in a value", get, with("X-A: a\rX-B: b"), nil, []string{"a\rx-b"}},
		{"9110 5.5", "NUL in a value", get, with("X-A: a\x00b"), nil, []string{"\x00"}},
		{"9112 5.1", "white space before a colon", get, with("X-A : b"), nil, []string{"x-a :"}},
		{"9112 5.1", "white space before the colon of a length", get, "HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfineHTTP/1.1 200 OK\r\n\r\n", []string{"http/1.1 502 "}, []string{"fine"}},
		{"9110 5.1", "a name that is no token", get, with("X A: b"), nil, []string{"x a"}},
		{"9112 5.2", "a folded line", get, with("X-A: a\r\n\t b"), []string{"x-a: a b\r\n"}, nil},
		{"9110 5.3", "lines of a field keep their order", get, with("Set-Cookie: b=2\r\nX-A: 1\r\nSet-Cookie: a=1"), []string{"set-cookie: b=2\r\nset-cookie: a=1\r\n"}, nil},
		{"9110 5.1", "unknown fields stay", get, with("X-New-Thing: 1"), []string{"x-new-thing: 1\r\n"}, nil},
		{"9110 6.6.1", "the API's date, and none of ours", get, with("X-A: b"), nil, []string{"date:"}},
		{"9110 7.6.3", "no Via of ours", get, with("X-A: b"), nil, []string{"via:"}},
		{"9110 7.6.1", "Connection and what it names", get, with("Connection: X-Private\r\nX-Private: 1\r\nX-Kept: 2"), []string{"x-kept: 2"}, []string{"x-private"}},
		{"9110 7.6.1", "a trailer that Connection names", get, "HTTP/1.1 200 OK\r\nConnection: x-t\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, X-Kept\r\n\r\n0\r\nX-T: 1\r\nX-Kept: 2\r\n\r\n", []string{"x-kept: 2"}, []string{"x-t"}},
		{"9110 7.7", "content that must not be transformed", get, with("Cache-Control: no-transform\r\nContent-Encoding: gzip"), []string{"content-encoding: gzip\r\n", "cache-control: no-transform\r\n", "\r\n\r\nfine"}, nil},
		{"9110 7.8", "an upgrade that is offered", get, with("Connection: upgrade\r\nUpgrade: h2c"), nil, []string{"upgrade"}},
		{"9110 10.2.1", "Allow stays", get, "HTTP/1.1 405 X\r\nAllow: POST,, x-OTHER\r\nContent-Length: 0\r\n\r\n", []string{"http/1.1 405 ", "allow: post,, x-other\r\n"}, nil},
		{"9110 11.6.1", "challenges stay", get, "HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"a, b\", Bearer\r\nWWW-Authenticate: Other\r\nContent-Length: 0\r\n\r\n", []string{"www-authenticate: basic realm=\"a, b\", bearer\r\nwww-authenticate: other\r\n"}, nil},
		{"9110 11.6.3", "Authentication-Info stays", get, with("Authentication-Info: nextnonce=\"1\""), []string{"authentication-info: nextnonce=\"1\"\r\n"}, nil},
		{"9110 12.5.5", "Vary stays", get, with("Vary: a, b"), []string{"vary: a, b\r\n"}, []string{"*"}},
		{"9110 14.4", "a range of an unknown unit", get, "HTTP/1.1 206 X\r\nContent-Range: lines 1-2/3\r\nContent-Length: 4\r\n\r\nfine", []string{"http/1.1 206 ", "content-range: lines 1-2/3\r\n", "\r\n\r\nfine"}, nil},
		{"9111 5.2", "cache directives stay", get, with("Cache-Control: private, x=\"y\"\r\nAge: 3\r\nExpires: 0"), []string{"cache-control: private, x=\"y\"\r\n", "age: 3\r\n", "expires: 0\r\n"}, nil},
		{"9110 15.2", "interim answers", get, "HTTP/1.1 103 X\r\nLink: a\r\nContent-Length: 3\r\n\r\nHTTP/1.1 199 X\r\nTransfer-Encoding: chunked\r\n\r\n" + fine, []string{"http/1.1 103 ", "link: a\r\n", "http/1.1 199 ", "http/1.1 200 "}, []string{"content-length: 3", "transfer-encoding"}},
		{"9110 15.2", "a permission that nobody asked for", get, "HTTP/1.1 100 Continue\r\n\r\n" + fine, []string{"http/1.1 100 continue\r\n\r\nhttp/1.1 200 "}, nil},
		{"9110 15.2", "none for HTTP/1.0", old, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\n" + fine, []string{"http/1.0 200 "}, []string{" 100 ", " 103 "}},
		{"9110 15.2.2", "a switch that nobody asked for", get, "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", []string{"http/1.1 502 "}, []string{"upgrade"}},
		{"9112 6.1", "no coding for 204", get, "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", []string{"http/1.1 204 "}, []string{"transfer-encoding"}},
		{"9110 8.6", "no length for 204", get, "HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", []string{"http/1.1 204 "}, []string{"content-length"}},
		{"9110 8.6", "no wrong length for 304", get, "HTTP/1.1 304 X\r\n\r\n", []string{"http/1.1 304 "}, []string{"content-length"}},
		{"9110 8.6", "the length of what was not modified", get, "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", []string{"http/1.1 304 ", "content-length: 5\r\n"}, nil},
		{"9110 9.3.2", "HEAD without content", head, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", []string{"content-length: 4\r\n"}, []string{"fine"}},
		{"9112 6.1", "no coding for HTTP/1.0", old, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", []string{"\r\n\r\nfine"}, []string{"transfer-encoding", "\r\n0\r\n"}},
		{"9112 6.1", "a coding of HTTP/1.0", get, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nfine", []string{"http/1.1 502 "}, []string{"fine"}},
		{"9112 6.2", "one length of one message", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n4\r\nfine\r\n0\r\n\r\n", []string{"transfer-encoding: chunked\r\n", "4\r\nfine\r\n0\r\n\r\n"}, []string{"content-length"}},
		{"9112 6.3", "a length that is none", get, "HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nfine", []string{"http/1.1 502 "}, []string{"fine"}},
		{"9112 6.3", "two lengths that differ", get, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine", []string{"http/1.1 502 "}, []string{"fine"}},
		{"9112 6.3", "a length that is signed", get, "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine", []string{"http/1.1 502 "}, []string{"fine"}},
		{"9112 7.1", "a chunk that overflows", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000004\r\nfine\r\n0\r\n\r\n", nil, []string{"\r\n0\r\n\r\n"}},
		{"9112 7.1.1", "extensions end here", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nfine\r\n0;c\r\n\r\n", []string{"4\r\nfine\r\n0\r\n\r\n"}, []string{";"}},
		{"9112 7.1.2", "a trailer never becomes a header", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-T: 1\r\n\r\n", []string{"\r\n\r\n4\r\nfine\r\n0\r\nx-t: 1\r\n\r\n"}, nil},
		{"9112 8", "half an answer", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n", nil, []string{"\r\n0\r\n"}},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			api := scripted(t, func(_ int, c net.Conn) {
				if _, err := readHead(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, tc.answer)
				}
			})
			c := newRig(t, options{api: api}).dial()
			c.send("%s", tc.sent)
			all, _ := io.ReadAll(c.br)
			got := lowered(string(all))
			for _, s := range tc.has {
				if !strings.Contains(got, s) {
					t.Errorf("the client got %q, without %q", got, s)
				}
			}
			for _, s := range tc.not {
				if strings.Contains(got, s) {
					t.Errorf("the client got %q, with %q", got, s)
				}
			}
			if !strings.HasPrefix(got, "http/1.") {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// 9112 6.3, 9112 9.2: what stands behind an answer answers nobody.
func TestNothingIsAnsweredByWhatStandsBehind(t *testing.T) {
	api := scripted(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for {
			if _, err := readHead(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, fine+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		}
	})
	c := newRig(t, options{api: api}).dial()
	for range 5 {
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body := c.answer("GET"); body != "fine" {
			t.Fatalf("the client got %q", body)
		}
	}
}

// 9112 11.1: no byte of the API's ends a line of the client's head.
func TestNoAnswerIsSplit(t *testing.T) {
	for _, value := range []string{"a\r\nSet-Cookie: evil", "a\nSet-Cookie: evil", "a\r\n\r\nHTTP/1.1 200 OK", "a\x00b"} {
		var seen tally
		r := newRig(t, h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) {
			p.Head(req.ID, false, ":status", "200", "x-a", value)
			_ = p.WriteData(req.ID, true, []byte("fine"))
		}))
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		res, body := c.answer("GET")
		if res.StatusCode != 502 && (body != "fine" || len(res.Header["X-A"]) != 1) || res.Header.Get("Set-Cookie") != "" || c.br.Buffered() > 0 {
			t.Errorf("%q: %d %v %q", value, res.StatusCode, res.Header, body)
		}
	}
}
