package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a client sends behind a request whose answer still streams is its next
// request, short or longer than every buffer on the way: it is answered behind
// that stream and does not disturb it (9112 9.3.2). A client that leaves in the
// meantime is noticed though its end stands behind what nobody reads yet.
func TestPipeliningBehindAStream(t *testing.T) {
	const get = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
	const first = "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	sized := func(n int) string {
		return fmt.Sprintf("POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("b", n))
	}
	for _, protocol := range protocols {
		begun, release, left := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
		r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
			n, _ := io.Copy(io.Discard, req.Body)
			if req.URL.Path == "/next" {
				_, _ = fmt.Fprintf(w, "next %d", n)
				return
			}
			_, _ = io.WriteString(w, "one ")
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			select {
			case <-release:
				_, _ = io.WriteString(w, "two")
			case <-req.Context().Done():
				left <- struct{}{}
			}
		}))
		for _, tc := range []struct{ name, early, late string }{
			{"nothing", "", get},
			{"short", get, ""},
			{"half of its head", get[:9], get[9:]},
			{"an empty line", "\r\n", get},
			{"with content", sized(10), ""},
			{"long", sized(1 << 20), ""},
			{"longer than the buffers", sized(16 << 20), ""},
		} {
			t.Run(protocol+"/"+tc.name, func(t *testing.T) {
				c := r.dial()
				c.send(first)
				<-begun
				res := c.head("POST")
				sent := make(chan struct{})
				go func() { defer close(sent); _, _ = io.WriteString(c, tc.early) }()
				release <- struct{}{}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "one two" {
					t.Errorf("the stream: %q, %v", body, err)
				}
				go func() { <-sent; _, _ = io.WriteString(c, tc.late) }()
				if _, body := c.answer("POST"); !strings.HasPrefix(body, "next ") {
					t.Errorf("the next answer is %q", body)
				}
				_ = c.Close()
				// The same, and the client leaves: behind more than the kernel
				// takes, its end comes as a reset.
				leaver := r.dial()
				leaver.send(first)
				<-begun
				leaver.head("POST")
				tcp := leaver.Conn.(*net.TCPConn)
				if len(tc.early) > 1<<10 {
					_ = tcp.SetLinger(0)
					_ = tcp.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				}
				_, _ = io.WriteString(leaver, tc.early)
				_ = leaver.Close()
				<-left
			})
		}
	}
}
