package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/testkit"
)

// Early hints pass, any number of them, from APIs of either protocol to clients
// of either; HTTP/1.0 clients do not know them.
func TestInterimAnswers(t *testing.T) {
	apis := map[string]func(t *testing.T) options{
		"plain": func(t *testing.T) options {
			o, _ := mirror(t, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\nConnection: x\r\n\r\n"+fine)
			return o
		},
		"tls2": func(t *testing.T) options {
			var seen tally
			return h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) {
				p.Head(req.ID, false, ":status", "102")
				p.Head(req.ID, false, ":status", "103", "link", "<a>")
				p.Head(req.ID, false, ":status", "200", "content-length", "4")
				_ = p.WriteData(req.ID, true, []byte("fine"))
			})
		},
	}
	for name, api := range apis {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, api(t))
			c := r.dial()
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			var got []string
			for range 2 {
				res := c.head("GET")
				got = append(got, fmt.Sprint(res.StatusCode, res.Header))
			}
			if want := []string{"102 map[]", "103 map[Link:[<a>]]"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if res, body := c.answer("GET"); res.StatusCode != 200 || body != "fine" || res.Header.Get("Link") != "" {
				t.Errorf("then %d %q %v", res.StatusCode, body, res.Header)
			}
			c = r.dial()
			c.send("GET / HTTP/1.0\r\n\r\n")
			if res, body := c.answer("GET"); res.StatusCode != 200 || body != "fine" {
				t.Errorf("HTTP/1.0: got %d %q", res.StatusCode, body)
			}
			if got, err := post(r.h2c(), r.url("/"), []byte("b")); err != nil || got != "fine" {
				t.Errorf("HTTP/2: got %q, %v", got, err)
			}
		})
	}
}

// Nobody asked for another protocol.
func TestSwitchingProtocolsIsNeverPassedOn(t *testing.T) {
	var seen tally
	plain, _ := mirror(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for name, o := range map[string]options{
		"plain": plain,
		"tls2": h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) {
			p.Head(req.ID, false, ":status", "101")
			p.Answer(req.ID, "x")
		}),
	} {
		r := newRig(t, o)
		c := r.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")
		if res := c.head("POST"); res.StatusCode != 502 {
			t.Errorf("%s: status %d, want 502", name, res.StatusCode)
		}
	}
}

// Trailers pass both ways, without what may not go upstream.
func TestTrailers(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				w.Header().Set("Trailer", "X-Sum")
				_, _ = fmt.Fprintf(w, "%s %v", body, req.Trailer)
				w.(http.Flusher).Flush() // or a length would leave no room for trailers
				w.Header().Set("X-Sum", "1")
				w.Header().Set(http.TrailerPrefix+"X-Late", "2")
			}))
			for _, http1 := range []bool{true, false} {
				req, _ := http.NewRequest("POST", r.url("/"), io.MultiReader(strings.NewReader("body")))
				req.Trailer = http.Header{"X-Client": {"c"}, "Tailscale-User": {"u"}, "X-Forwarded-For": {"f"}}
				res, err := r.client(http1).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if want := "body map[X-Client:[c]]"; err != nil || string(got) != want {
					t.Errorf("http1=%v: the API got %q, %v; want %q", http1, got, err, want)
				}
				if want := "map[X-Late:[2] X-Sum:[1]]"; fmt.Sprint(res.Trailer) != want {
					t.Errorf("http1=%v: the client got %v, want %s", http1, res.Trailer, want)
				}
			}
		})
	}
}

// What belongs in front of a message does not follow it, in either direction:
// whoever merges a trailer into a header would frame, route or authorize by it
// (9110 6.5.1).
func TestTrailersThatFrameOrAuthorizeAreDropped(t *testing.T) {
	const bad = "transfer-encoding: chunked|content-length: 5|host: evil|connection: close|te: x|trailer: x|authorization: a|x-api-key: a|" +
		"www-authenticate: a|proxy-authenticate: a|cookie: a|set-cookie: a=b|content-type: a/b|content-encoding: gzip|content-range: x|" +
		"cache-control: x|location: /|if-match: x|expect: x|retry-after: 9"
	fields := strings.ReplaceAll(bad, "|", "\r\n") + "\r\nx-sum: 1\r\n"
	got := make(chan string, 1)
	api := scripted(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		_, _ = readHead(br)
		_, _ = io.ReadFull(br, make([]byte, len("4\r\nbody\r\n0\r\n")))
		trailer, _ := readHead(br)
		got <- trailer
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n"+fields+"\r\n")
	})
	r := newRig(t, options{api: api})
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Cookie, Retry-After, X-Api-Key\r\n\r\n4\r\nbody\r\n0\r\ncookie: a\r\nx-sum: 1\r\nretry-after: 9\r\nx-api-key: a\r\n\r\n")
	if trailer := <-got; !strings.EqualFold(trailer, "x-sum: 1\r\n\r\n") {
		t.Errorf("the API got the trailer %q", trailer)
	}
	_, _ = readHead(c.br)
	_, _ = io.ReadFull(c.br, make([]byte, len("4\r\nfine\r\n0\r\n")))
	if trailer, err := readHead(c.br); err != nil || !strings.EqualFold(trailer, "x-sum: 1\r\n\r\n") {
		t.Errorf("the client got the trailer %q, %v", trailer, err)
	}
	p := newRig(t, h2scripted(t, func(_ int, p *testkit.Peer) {
		req, _ := p.Request()
		p.Head(req.ID, false, ":status", "200")
		_ = p.WriteData(req.ID, false, []byte("fine"))
		p.Head(req.ID, true, "authorization", "a", "content-type", "a/b", "set-cookie", "a=b", "x-sum", "1")
		p.Drain()
	})).h2peer()
	p.Head(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "x")
	statusOf(p)
	for {
		f := p.Next()
		if f == nil {
			t.Fatal("no trailer came")
		}
		if m, ok := f.(*http2.MetaHeadersFrame); ok {
			if fmt.Sprint(m.Fields) != fmt.Sprint([]hpack.HeaderField{{Name: "x-sum", Value: "1"}}) {
				t.Errorf("over HTTP/2 the client got the trailer %v", m.Fields)
			}
			break
		}
	}
}

// A client of HTTP/1.0 gets a stream that ends with its connection.
func TestHTTP10Client(t *testing.T) {
	o, heads := mirror(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n")
	r := newRig(t, o)
	c := r.dial()
	c.send("POST /x HTTP/1.0\r\nContent-Length: 1\r\n\r\nb")
	raw, err := io.ReadAll(c.br)
	if err != nil || strings.Contains(string(raw), "chunked") || !strings.HasSuffix(string(raw), "\r\n\r\nfine") {
		t.Errorf("got %q, %v", raw, err)
	}
	if head := <-heads; !strings.HasPrefix(head, "POST /x HTTP/1.1\r\n") {
		t.Errorf("the API got %q", head)
	}
}

// A client that asks first gets the API's word, not ours (9110 10.1.1).
func TestExpectContinue(t *testing.T) {
	for _, tc := range []struct {
		name, first string
		want        string
	}{
		{"the API permits", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"},
		{"the API refuses", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 401 Unauthorized\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := scripted(t, func(_ int, c net.Conn) {
				br := bufio.NewReader(c)
				if head, err := readHead(br); err != nil || !strings.Contains(head, "Expect: 100-continue\r\n") {
					return
				}
				_, _ = io.WriteString(c, tc.first)
				body := make([]byte, 4)
				if _, err := io.ReadFull(br, body); err == nil && string(body) == "body" {
					_, _ = io.WriteString(c, fine)
				}
			})
			r := newRig(t, options{api: api})
			c := r.dial()
			c.send("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			head, err := readHead(c.br)
			got := head
			if strings.Contains(head, " 100 ") {
				c.send("body")
				head, err = readHead(c.br)
				got += head
			}
			if err != nil || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
