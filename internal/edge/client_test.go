package edge

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/testkit"
)

func TestRequestsAsTheyCame(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(echo)
		c := d.dial()
		for _, tc := range []struct{ sent, want string }{
			{"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", `GET /a?b=c 1 0 ""`},
			{"POST //a/../%2F|{} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", `POST //a/../%2F|{} 1 2 "{}"`},
			{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", `POST / 1 0 ""`},
			{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1;a=b;c=\"d\"\r\n!\r\n0\r\n\r\n", `POST / 1 -1 "{}!"`},
			{"POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: CHUNKED\r\n\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n", `POST / 1 -1 "0123456789"`},
			{"PURGE * HTTP/1.1\r\nhost:x:80\r\n\r\n", `PURGE * 1 0 ""`},
		} {
			c.send(tc.sent)
			if _, body, err := c.answer("POST"); err != nil || body != tc.want {
				t.Errorf("%q: got %s, %v; want %s", tc.sent, body, err, tc.want)
			}
		}
		c.send("GET /old HTTP/1.0\r\n\r\n")
		if rest, err := c.rest(); err != nil || !strings.HasSuffix(rest, `GET /old 0 0 ""`) || !strings.HasPrefix(rest, "HTTP/1.0 200 ") {
			t.Errorf("HTTP/1.0: %q, %v", rest, err)
		}
	})
}

func TestHeadersOfARequest(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		got := make(chan Request, 1)
		d := open(func(c Client) { got <- *c.Request(); say(c, "") })
		c := d.dial()
		c.send("GET / HTTP/1.1\r\nhost: a.example\r\nX-A: 1 \r\nx-a:2\r\nanthropic-beta: b\r\nX-Empty:\r\nx-sTrange-NAME: \tc d\t\r\n\r\n")
		r := <-got
		want := http.Header{"X-A": {"1", "2"}, "Anthropic-Beta": {"b"}, "X-Empty": {""}, "X-Strange-Name": {"c d"}}
		if r.Host != "a.example" || fmt.Sprint(r.Header.HTTP()) != fmt.Sprint(want) {
			t.Errorf("host %q, header %v; want %v", r.Host, r.Header, want)
		}
	})
}

// Requests that were sent without waiting are answered in order, and none
// reads of another's bytes (9112 9.3.2).
func TestPipelining(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		c := open(echo).dial()
		one := "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
		var all strings.Builder
		for i := range 50 {
			body := strings.Repeat("b", i*100)
			fmt.Fprintf(&all, one, i, len(body), body)
		}
		go func() { _, _ = io.WriteString(c, all.String()) }()
		for i := range 50 {
			if _, body, err := c.answer("POST"); err != nil || !strings.HasPrefix(body, fmt.Sprintf("POST /%d 1 %d ", i, i*100)) {
				t.Fatalf("answer %d: %.40q, %v", i, body, err)
			}
		}
	})
}

// A length over HTTP/2 that is none, or not that of the content, is refused: such
// a request must not be forwarded (RFC 9113 8.1.1).
func TestLengthsOverHTTP2(t *testing.T) {
	d := openDoor(t, New(handlerFunc(echo), Options{}))
	for _, tc := range []struct {
		lengths []string
		content string
		status  string
	}{
		{nil, "", "200"},
		{nil, "body", "200"},
		{[]string{"0"}, "", "200"},
		{[]string{"4"}, "body", "200"},
		{[]string{"4", "4"}, "body", "200"},
		{[]string{"4"}, "", "400"},
		{[]string{"four"}, "", "400"},
		{[]string{"+4"}, "", "400"},
		{[]string{"0", "4"}, "", "400"},
		{[]string{"4", "5"}, "body", "400"},
		{[]string{""}, "", "400"},
	} {
		c := d.dial()
		c.send(http2.ClientPreface)
		f := http2.NewFramer(c, c.br)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		head := []string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}
		for _, length := range tc.lengths {
			head = append(head, "content-length", length)
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: testkit.HeaderBlock(head...), EndHeaders: true, EndStream: tc.content == ""})
		if tc.content != "" {
			_ = f.WriteData(1, true, []byte(tc.content))
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%q, %q: %v", tc.lengths, tc.content, err)
			}
			if answer, ok := frame.(*http2.MetaHeadersFrame); ok {
				if got := answer.PseudoValue("status"); got != tc.status {
					t.Errorf("%q, %q: status %s, want %s", tc.lengths, tc.content, got, tc.status)
				}
				break
			}
		}
		_ = c.Close()
	}
}

// HTTP/2 begins on the same port.
func TestHTTP2(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		type remembered struct{ n int }
		d := open(func(c Client) {
			m := Memory[remembered](c.Context())
			m.n++
			if c.Request().Body != nil {
				body, _ := io.ReadAll(c.Request().Body)
				say(c, fmt.Sprint(c.Request().Proto, len(body), m.n))
				return
			}
			c.Respond(Head{Status: 200, ContentLength: -1})
			_, _ = io.WriteString(c, "half")
			c.Abort()
		})
		tr := cleartextHTTP2()
		defer tr.CloseIdleConnections()
		for i := range 3 {
			res, err := (&http.Client{Transport: tr}).Post("http://"+d.addr+"/", "", bytes.NewReader(make([]byte, 100000)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if want := fmt.Sprint(HTTP2, 100000, i+1); string(body) != want || err != nil {
				t.Errorf("got %q, %v; want %q", body, err, want)
			}
		}
		res, err := (&http.Client{Transport: tr}).Get("http://" + d.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("an aborted answer ended well: %q", body)
		}
	})
}
