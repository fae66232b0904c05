package proxy

import (
	"bufio"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/testkit"
)

// mirror answers each request with a fixed answer and hands out what arrived,
// byte for byte.
func mirror(t testing.TB, answer string) (options, chan string) {
	heads := make(chan string, 16)
	api := scripted(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for {
			head, err := readHead(br)
			if err != nil {
				return
			}
			heads <- head
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	return options{api: api}, heads
}

var targets = []struct{ sent, want string }{
	{"/v1/messages?beta=true", "/v1/messages?beta=true"},
	{"//a/../b", "//a/../b"},
	{"//a|b", "//a|b"},
	{"/a%2Fb/%2e%2e", "/a%2Fb/%2e%2e"},
	{"/x?a;b&c=;", "/x?a;b&c=;"},
	{"/x?", "/x?"},
	{"/?", "/?"},
	{"/ü/日本", "/ü/日本"},
	{"/a{b}^\"<>\\`", "/a{b}^\"<>\\`"},
	{"/%zz", "/%zz"},
	{"/a#b", "/a#b"},
	{"/./..//", "/./..//"},
	{"/healthy", "/healthy"},
	{"/health/", "/health/"},
	{"http://evil.example/v1/x?y", "/v1/x?y"},
	{"http://evil.example", "/"},
	{"http://evil.example?q", "/?q"},
	{"https://user@evil.example:99/a//b", "/a//b"},
}

// The API gets the client's target byte for byte.
func TestTargets(t *testing.T) {
	t.Run("http1", func(t *testing.T) {
		o, heads := mirror(t, "HTTP/1.1 204 No Content\r\n\r\n")
		r := newRig(t, o)
		for _, tc := range targets {
			c := r.dial()
			c.send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", tc.sent)
			c.head("GET")
			line, _, _ := strings.Cut(<-heads, "\r\n")
			if want := "GET " + tc.want + " HTTP/1.1"; line != want {
				t.Errorf("%s: the API got %q, want %q", tc.sent, line, want)
			}
		}
		c := r.dial()
		c.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
		if line, _, _ := strings.Cut(<-heads, "\r\n"); line != "OPTIONS * HTTP/1.1" {
			t.Errorf("*: the API got %q", line)
		}
	})
	t.Run("h2", func(t *testing.T) {
		paths := make(chan string, 16)
		r := newRig(t, h2scripted(t, func(_ int, p *testkit.Peer) {
			for {
				req, ok := p.Request()
				if !ok {
					return
				}
				paths <- req.Fields[":path"]
				p.Head(req.ID, true, ":status", "204")
			}
		}))
		for _, tc := range targets {
			c := r.dial()
			c.send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", tc.sent)
			c.head("GET")
			if got := <-paths; got != tc.want {
				t.Errorf("%s: the API got %q, want %q", tc.sent, got, tc.want)
			}
		}
		c := r.dial()
		c.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := <-paths; got != "*" {
			t.Errorf("*: the API got %q", got)
		}
	})
}

// What cannot be forwarded is refused and never reaches the API.
func TestTargetsRefused(t *testing.T) {
	o, heads := mirror(t, "HTTP/1.1 204 No Content\r\n\r\n")
	r := newRig(t, o)
	for _, line := range []string{"CONNECT evil.example:443", "CONNECT /x", "GET *", "GET evil.example", "GET mailto:x"} {
		c := r.dial()
		c.send("%s HTTP/1.1\r\nHost: x\r\n\r\n", line)
		if res := c.head("GET"); res.StatusCode != 400 {
			t.Errorf("%s: status %d, want 400", line, res.StatusCode)
		}
	}
	for _, f := range [][]string{
		{":method", "GET", ":path", "/a b"},
		{":method", "GET / HTTP/1.1", ":path", "/a"},
		{":method", "GET", ":path", "/a HTTP/1.1 x"},
	} {
		p := r.h2peer()
		p.Head(1, true, append(f, ":scheme", "http", ":authority", "x")...)
		if status := statusOf(p); status != "400" {
			t.Errorf("HTTP/2 %q: status %q, want 400", f, status)
		}
	}
	p := r.h2peer()
	p.Head(1, true, ":method", "CONNECT", ":authority", "evil.example:443")
	if status := statusOf(p); status != "400" {
		t.Errorf("HTTP/2 CONNECT: status %q, want 400", status)
	}
	select {
	case head := <-heads:
		t.Errorf("the API got %q", head)
	default:
	}
}

// h2peer is a client that speaks HTTP/2 frame by frame.
func (r *rig) h2peer() *testkit.Peer {
	c := r.dial()
	c.send("%s", http2.ClientPreface)
	p := testkit.NewPeer(c)
	if err := p.WriteSettings(); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// statusOf waits for the final head of an answer; empty when its stream or
// connection ended first.
func statusOf(p *testkit.Peer) string {
	for {
		switch f := p.Next().(type) {
		case nil, *http2.RSTStreamFrame:
			return ""
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); s >= "200" {
				return s
			}
		}
	}
}

func rule(t testing.TB, name, value, mode string) headers.Rule {
	t.Helper()
	r, err := headers.NewRule(name, value, mode)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Nothing is added to a request but the rules' headers and the API's Host, and
// nothing taken away but what belongs to the hop or tells about the tailnet. What
// goes on keeps its order and its spelling.
func TestRequestHeadersOnTheWire(t *testing.T) {
	o, heads := mirror(t, "HTTP/1.1 204 No Content\r\n\r\n")
	o.rules = []headers.Rule{rule(t, headers.BetaName, headers.OAuthMember, ""), rule(t, "x-team", "blue", "")}
	r := newRig(t, o)
	for _, tc := range []struct{ name, sent, want string }{
		{"nothing", "", ""},
		{"unknown ones pass", "Anthropic-Future: 1\r\nX-Claude-Code-Anything: a\r\nAccept-Encoding: zstd\r\n", "Anthropic-Future: 1|X-Claude-Code-Anything: a|Accept-Encoding: zstd"},
		{"an old way to say no-cache", "Pragma: no-cache\r\n", "Pragma: no-cache"},
		{"lines keep their order", "X-A: 2\r\nx-b: 1\r\nX-A: 1\r\nx-A: 3\r\n", "X-A: 2|x-b: 1|X-A: 1|x-A: 3"},
		{"credentials", "Authorization: Bearer t\r\nX-Api-Key: k\r\nCookie: a=b; c=d\r\n", "Authorization: Bearer t|X-Api-Key: k|Cookie: a=b; c=d"},
		{"hop by hop", "Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n", ""},
		{"hop by hop, oddly", "CONNECTION: Keep-Alive\r\nkeep-Alive: 5\r\ntE: trailers\r\nPROXY-connection: x\r\nproxy-authorization: x\r\ntrailer: X-A\r\n", ""},
		{"named by Connection", "Connection: close, X-Private , authorization\r\nX-Private: 1\r\nAuthorization: Bearer t\r\nX-Kept: 1\r\n", "X-Kept: 1"},
		{"named by Connection, oddly", "connection: close\r\ncOnnection: X-PRIVATE , Authorization\r\nx-private: 1\r\nauthorization: Bearer t\r\nX-Kept: 1\r\n", "X-Kept: 1"},
		{"named, but ours", "Connection: x-team, Anthropic-Beta\r\nX-Team: red\r\nAnthropic-Beta: mine\r\n", ""},
		{"an upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n", "Sec-WebSocket-Key: k"},
		{"h2c upgrade", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", ""},
		{"the tailnet", "Tailscale-User-Login: a\r\nTailscale-Anything: b\r\nX-Forwarded-For: 1\r\nX-Forwarded-Host: h\r\nForwarded: for=1\r\nVia: 1.1 x\r\nX-Real-Ip: 1\r\n", ""},
		{"the tailnet, oddly", "tailscale-user-login: a\r\nTAILSCALE-ANYTHING: b\r\nx-forwarded-for: 1\r\nx-Forwarded-HOST: h\r\nforwarded: for=1\r\nVIA: 1.1 x\r\nX-Real-IP: 1\r\nx-forwarded: 1\r\n", "x-forwarded: 1"},
	} {
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: client.example\r\n%s\r\n", tc.sent)
		if res := c.head("GET"); res.StatusCode != 204 {
			t.Errorf("%s: status %d", tc.name, res.StatusCode)
		}
		lines := strings.Split(strings.TrimSuffix(<-heads, "\r\n\r\n"), "\r\n")[1:]
		want := []string{"Host: " + o.api.Host}
		if tc.want != "" {
			want = append(want, strings.Split(tc.want, "|")...)
		}
		want = append(want, "Anthropic-Beta: "+headers.OAuthMember, "X-Team: blue")
		if !slices.Equal(lines, want) {
			t.Errorf("%s: the API got\n%q, want\n%q", tc.name, lines, want)
		}
	}
}

// A client of HTTP/2 cannot name another host to the API.
func TestHostOverHTTP2(t *testing.T) {
	plain, heads := mirror(t, "HTTP/1.1 204 No Content\r\n\r\n")
	p := newRig(t, plain).h2peer()
	p.Head(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.example", "host", "b.example")
	statusOf(p)
	if head, want := <-heads, "GET / HTTP/1.1\r\nHost: "+plain.api.Host+"\r\n\r\n"; head != want {
		t.Errorf("the API got %q, want %q", head, want)
	}
	fields := make(chan map[string]string, 1)
	secure := h2scripted(t, func(_ int, p *testkit.Peer) {
		req, _ := p.Request()
		fields <- req.Fields
		p.Head(req.ID, true, ":status", "204")
		p.Drain()
	})
	p = newRig(t, secure).h2peer()
	p.Head(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.example", "host", "b.example")
	statusOf(p)
	want := map[string]string{":method": "GET", ":path": "/", ":scheme": "https", ":authority": secure.api.Host}
	if got := <-fields; !maps.Equal(got, want) {
		t.Errorf("the API got %v, want %v", got, want)
	}
}

// Nothing is added to an answer but its request id.
func TestAnswerHeadersOnTheWire(t *testing.T) {
	for _, tc := range []struct{ name, method, sent, want string }{
		{"bare", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "Content-Length: 1"},
		{"all kinds", "GET", "HTTP/1.1 429 Slow\r\nContent-Length: 1\r\nRequest-Id: req_1\r\nRetry-After-Ms: 5\r\nX-A: 2\r\nX-A: 1\r\nContent-Type: text/event-stream; charset=utf-8\r\nDate: yesterday\r\nServer: s\r\nVia: 1.1 g\r\n\r\nx",
			"Content-Length: 1|Content-Type: text/event-stream; charset=utf-8|Date: yesterday|Request-Id: req_1|Retry-After-Ms: 5|Server: s|Via: 1.1 g|X-A: 2|X-A: 1"},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\n\r\nx", "Content-Length: 1"},
		{"compressed", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx", "Content-Encoding: gzip|Content-Length: 1"},
		{"an old way to say no-cache", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nPragma: no-cache\r\n\r\nx", "Content-Length: 1|Pragma: no-cache"},
		{"redirect", "GET", "HTTP/1.1 307 T\r\nContent-Length: 0\r\nLocation: http://elsewhere/\r\n\r\n", "Content-Length: 0|Location: http://elsewhere/"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: a/b\r\n\r\n", "Content-Length: 1234|Content-Type: a/b"},
		{"head of a stream", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"no content", "GET", "HTTP/1.1 204 N\r\nX-A: 1\r\n\r\n", "X-A: 1"},
		{"not modified", "GET", "HTTP/1.1 304 N\r\nEtag: \"x\"\r\n\r\n", "Etag: \"x\""},
	} {
		o, _ := mirror(t, tc.sent)
		r := newRig(t, o)
		c := r.dial()
		c.send("%s / HTTP/1.1\r\nHost: x\r\n\r\n", tc.method)
		head, err := readHead(c.br)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		var lines []string
		ids := 0
		for _, l := range strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")[1:] {
			if strings.HasPrefix(l, "X-Proxy-Request-Id: req_") {
				ids++
			} else if l != "Transfer-Encoding: chunked" { // the framing is ours
				lines = append(lines, l)
			}
		}
		slices.SortStableFunc(lines, func(a, b string) int {
			return strings.Compare(a[:strings.Index(a, ":")], b[:strings.Index(b, ":")])
		})
		if got := strings.Join(lines, "|"); got != tc.want || ids != 1 {
			t.Errorf("%s: got %q with %d ids, want %q", tc.name, got, ids, tc.want)
		}
		// The connection is in order: the next answer begins where it should.
		c.send("%s / HTTP/1.1\r\nHost: x\r\n\r\n", tc.method)
		if tc.method == "GET" && strings.HasSuffix(tc.sent, "x") {
			_, _ = c.br.Discard(1)
		}
		if head, err := readHead(c.br); err != nil || !strings.HasPrefix(head, "HTTP/1.1 ") {
			t.Errorf("%s: the next answer begins with %q, %v", tc.name, head, err)
		}
	}
}

// The same for clients of HTTP/2.
func TestAnswerFieldsOverHTTP2(t *testing.T) {
	for _, tc := range []struct{ name, method, sent, want string }{
		{"bare", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", ":status=200"},
		{"with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 1\r\n\r\nx", ":status=200 content-length=1 x-b=1"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ":status=200 content-length=9"},
		{"no content", "GET", "HTTP/1.1 204 N\r\n\r\n", ":status=204"},
		{"error", "GET", "HTTP/1.1 529 O\r\nContent-Length: 0\r\n\r\n", ":status=529 content-length=0"},
	} {
		o, _ := mirror(t, tc.sent)
		p := newRig(t, o).h2peer()
		p.Head(1, true, ":method", tc.method, ":path", "/", ":scheme", "http", ":authority", "x")
		var fields []string
		for fields == nil {
			f, ok := p.Next().(*http2.MetaHeadersFrame)
			if !ok {
				t.Fatalf("%s: no head", tc.name)
			}
			for _, field := range f.Fields {
				if field.Name != "x-proxy-request-id" {
					fields = append(fields, field.Name+"="+field.Value)
				}
			}
		}
		slices.Sort(fields)
		if got := strings.Join(fields, " "); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
