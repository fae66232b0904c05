package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRequestsHaveOneLength speaks to a server in the packets of each case and
// looks at what it says of each request.
func TestRequestsHaveOneLength(t *testing.T) {
	const (
		chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
		plain   = "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
		both    = "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
		reverse = "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 5\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
		bare    = "POST /c HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nContent-Length: 5\n\n2\r\n{}\r\n0\r\n\r\n"
	)
	for name, c := range map[string]struct {
		packets []string // each is sent when the answers to the ones before are there
		want    string
	}{
		"chunked":                       {[]string{chunked}, "one"},
		"a length":                      {[]string{plain}, "one"},
		"both":                          {[]string{both}, "two"},
		"both, the other way round":     {[]string{reverse}, "two"},
		"both, with bare line feeds":    {[]string{bare}, "two"},
		"both, after another":           {[]string{plain, both}, "one two"},
		"chunked after another":         {[]string{plain, chunked, plain, chunked}, "one one one one"},
		"chunked, not waiting":          {[]string{plain + chunked}, "one two"},
		"a length, not waiting":         {[]string{plain + plain}, "one one"},
		"both, not waiting":             {[]string{plain + both}, "one two"},
		"both, after an impatient pair": {[]string{plain + plain, both}, "one one two"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := NewPlain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				said := "two"
				if OneLength(r) {
					said = "one"
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, said)
			}), Options{})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.ServeListener(ctx, ln) }()
			defer func() { s.Close(); cancel(); <-done }()

			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_ = client.SetDeadline(time.Now().Add(10 * time.Second))
			answers := bufio.NewReader(client)
			var got []string
			for _, p := range c.packets {
				_, _ = io.WriteString(client, p)
				for range strings.Count(p, "HTTP/1.1") {
					res, err := http.ReadResponse(answers, nil)
					if err != nil {
						t.Fatalf("after %q: %v", got, err)
					}
					body, _ := io.ReadAll(res.Body)
					got = append(got, string(body))
				}
			}
			if said := strings.Join(got, " "); said != c.want {
				t.Errorf("the server said %q, want %q", said, c.want)
			}
		})
	}
}
