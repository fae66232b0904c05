package edge

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// What a connection carries, by the section that asks for it: of all that its
// client sends, before it closes its side, these requests are served, one after
// the other, and then the connection is closed.
func TestWhatAConnectionCarries(t *testing.T) {
	const get, last = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /z HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(lines, body string) string { return "POST /p HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n\r\n" + body }
	for _, tc := range []struct{ section, name, sent, served string }{
		{"9112 9.3", "one after the other", get + get + last, "/a /a /z"},
		{"9112 9.3.2", "in their order, whatever their length", post("Content-Length: 2", "{}") + get + post("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n") + last, "/p={} /a /p={} /z"},
		{"9112 9.3", "none behind one of HTTP/1.0", "GET /old HTTP/1.0\r\n\r\n" + last, "/old"},
		{"9112 9.3", "nor when it would stay", "GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + last, "/old"},
		{"9112 9.6", "none behind a close", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + last, "/a"},
		{"9112 9.6", "none behind a close among others", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: foo,, CLOSE , bar\r\n\r\n" + last, "/a"},
		{"9110 5.6.1", "none behind a close in a list with empty members", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: , ,close,\r\n\r\n" + last, "/a"},
		{"9112 9.6", "none behind a close on a second line", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n" + last, "/a"},
		{"9112 9.6", "none behind a close of ours", "GET /close HTTP/1.1\r\nHost: x\r\n\r\n" + last, "/close"},
		{"9112 9.3", "none behind content that nobody read", "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: " + "29\r\n\r\n" + last, "/unread"},
		{"9112 9.3", "none behind chunks that nobody read", "POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + last, "/unread"},
		{"9112 6.3", "half of its content", post("Content-Length: 5", "{}"), "/p!{}"},
		{"9112 8", "half of its chunks", post("Transfer-Encoding: chunked", "2\r\n{}\r\n"), "/p!{}"},
		{"9112 8", "half of a chunk", post("Transfer-Encoding: chunked", "5\r\n{}"), "/p!{}"},
		{"9112 8", "half of the last chunk", post("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n"), "/p!{}"},
		{"9110 5.3", "half of a head", get + "POST /half HTTP/1.1\r\nHost: x\r\n", "/a"},
		{"9112 2.2", "empty lines in between", get + "\r\n\r\n" + last, "/a /z"},
		{"9112 6.3", "no length is no content", post("X-A: b", "") + last, "/p /z"},
		{"9112 6.3", "an end of line behind content is no content", post("Content-Length: 2", "{}\r\n") + last, "/p={} /z"},
		{"9110 8.6", "content of a GET", "GET /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + last, "/p={} /z"},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			served := make(chan string, 16)
			d := openDoor(t, New(handlerFunc(func(c Client) {
				r := c.Request()
				told := r.Target
				if r.Body != nil && told != "/unread" {
					b, err := io.ReadAll(r.Body)
					told += map[bool]string{true: "=", false: "!"}[err == nil] + string(b)
				}
				served <- told
				c.Respond(Head{Status: 200, ContentLength: 0, Close: r.Target == "/close"})
				_ = c.Finish(nil)
			}), Options{}))
			c := d.dial()
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.WriteString(c, tc.sent) })
			// Answers come before the client's end: one that closed has left.
			want := strings.Fields(tc.served)
			for _, told := range want {
				if strings.Contains(told, "!") {
					sending.Wait()
					_ = c.CloseWrite()
					break
				}
				if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != 200 {
					t.Fatalf("%s: %v %v", told, res, err)
				}
			}
			sending.Wait()
			_ = c.CloseWrite()
			rest, err := c.rest()
			if err != nil || strings.Count(rest, "HTTP/1.1") > strings.Count(tc.served, "!") {
				t.Errorf("behind the answers stands %q, %v", rest, err)
			}
			for _, told := range want {
				if got := <-served; got != told {
					t.Errorf("served %q, want %q", got, told)
				}
			}
			if len(served) > 0 {
				t.Errorf("%q was served, too", <-served)
			}
		})
	}
}

// An answer arrives whole before its connection closes, whatever its client has
// sent behind the request (9112 9.6): a close over bytes that nobody has read
// resets the connection.
func TestTheLastAnswerArrivesWhole(t *testing.T) {
	long := strings.Repeat("y", 1<<20)
	for _, tc := range []struct{ name, sent string }{
		{"9112 9.6 behind a close", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
		{"9112 9.6 behind a close of ours", "GET /close HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"9112 9.6 to HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			said := make(chan struct{})
			c := openDoor(t, New(handlerFunc(func(c Client) {
				defer close(said)
				c.Respond(Head{Status: 200, ContentLength: -1, Close: c.Request().Target == "/close"})
				_, _ = io.WriteString(c, long)
				_ = c.Finish(nil)
			}), Options{})).dial()
			_ = c.SetReadBuffer(64 << 10)
			c.send(tc.sent + strings.Repeat("z", 64<<10))
			<-said
			if _, text, err := c.answer("GET"); text != long || err != nil {
				t.Errorf("%d bytes came, %v; want %d", len(text), err, len(long))
			}
		})
	}
}

// Who waits for a permission gets it once, before its content is read, and only
// then (9110 10.1.1); the final answer follows.
func TestPermission(t *testing.T) {
	for _, tc := range []struct{ name, sent, content, want string }{
		{"asked", "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "{}", "100 200"},
		{"asked, for chunks", "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\n{}\r\n0\r\n\r\n", "100 200"},
		{"asked without content", "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", "", "200"},
		{"not asked", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", "{}", "200"},
		{"asked by HTTP/1.0", "POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "{}", "200"},
		{"asked by HTTP/1.0 for more", "POST /p HTTP/1.0\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n", "{}", "200"},
		{"refused", "POST /refused HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "", "200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := openDoor(t, New(handlerFunc(func(c Client) {
				if c.Request().Target == "/refused" {
					say(c, "no")
					return
				}
				echo(c)
			}), Options{}))
			c := d.dial()
			c.send(tc.sent)
			var got []string
			for range strings.Fields(tc.want) {
				if len(got) > 0 || !strings.HasPrefix(tc.want, "100") {
					c.send(tc.content)
				}
				res, _, err := c.answer("POST")
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, res.Status[:3])
			}
			_ = c.CloseWrite()
			if rest, err := c.rest(); strings.Join(got, " ") != tc.want || rest != "" || err != nil {
				t.Errorf("got %q, then %q, %v; want %s", got, rest, err, tc.want)
			}
		})
	}
}
