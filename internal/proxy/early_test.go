package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Early answers come before the API has read the request to its end. None may
// break, whatever the protocols, the kind of answer and the size of the body.
func TestEarlyAnswersArriveWhole(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"refusal": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, refusal)
		},
		// It begins before it reads. (That it reads at all is for the sake of Go's
		// server, whose full duplex mode trips over a body that nobody read.)
		"stream": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", "text/event-stream")
			for range 4 {
				_, _ = io.WriteString(w, "data: x\n\n")
				w.(http.Flusher).Flush()
			}
			_, _ = io.Copy(io.Discard, r.Body)
		},
	}
	const refusalEvents = "data: x\n\ndata: x\n\ndata: x\n\ndata: x\n\n"
	want := map[string]string{"refusal": refusal, "stream": refusalEvents}
	count := 2000
	if testing.Short() {
		count = 200
	}
	for _, protocol := range protocols {
		for answer, handler := range answers {
			for _, size := range []int{1 << 10, 200 << 10, 300 << 10, 1 << 20} {
				for _, http1 := range []bool{true, false} {
					name := fmt.Sprintf("%s/%s/%dKiB/http1=%v", protocol, answer, size>>10, http1)
					n := count
					if size > 1<<10 {
						n /= 20
					}
					t.Run(name, func(t *testing.T) {
						r := newRig(t, served(t, protocol, handler))
						hammer(t, r.client(http1), r.url("/v1/messages"), size, n, want[answer])
					})
				}
			}
		}
	}
}

const refusal = `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`

// hammer posts n bodies from 8 goroutines and wants the same answer to each.
func hammer(t *testing.T, c *http.Client, url string, size, n int, want string) {
	t.Helper()
	body := bytes.Repeat([]byte("b"), size)
	var left, broken atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := post(c, url, body)
				if err != nil || got != want {
					if broken.Add(1) <= 3 {
						t.Errorf("broken: got %q, %v", got, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if b := broken.Load(); b > 0 {
		t.Errorf("%d of %d requests broke", b, n)
	}
}

func post(c *http.Client, url string, body []byte) (string, error) {
	res, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return string(got), err
}

// An API on HTTP/1.1 that answers in full before it takes the body off the
// connection: what it then reads is the whole body, and after it a request.
func TestEarlyAnswerLeavesTheConnectionInOrder(t *testing.T) {
	const size = 200 << 10
	bad := make(chan string, 1)
	api := scripted(t, func(_ int, c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		br := bufio.NewReaderSize(c, 512)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				if err != io.EOF && !errors.As(err, new(net.Error)) {
					bad <- err.Error()
				}
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n%s", len(refusal), refusal)
			if n, err := io.Copy(io.Discard, req.Body); err == nil && n != size {
				bad <- fmt.Sprintf("a body of %d bytes", n)
			}
		}
	})
	o := options{api: api}
	o.engine.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
		return c, err
	}
	r := newRig(t, o)
	hammer(t, r.http1(), r.url("/v1/messages"), size, 100, refusal)
	select {
	case what := <-bad:
		t.Errorf("the API met %s", what)
	default:
	}
}

// An API that answers and closes without having read anything of a body that
// fits into no socket.
func TestAnswerThenCloseUnread(t *testing.T) {
	api := scripted(t, func(_ int, c net.Conn) {
		var b [1]byte
		if _, err := c.Read(b[:]); err == nil {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(refusal), refusal)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, c, 64<<10) // a little: a reset must not overtake the answer
	})
	r := newRig(t, options{api: api})
	hammer(t, r.http1(), r.url("/v1/files"), 24<<20, 50, refusal)
}

// What is left of an upload that an early answer made pointless must never be
// taken for the client's next request.
func TestLeftoverOfAnUploadIsNoRequest(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var smuggled atomic.Int64
			answered := make(chan struct{}, 8)
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/smuggled" {
					smuggled.Add(1)
				}
				w.WriteHeader(http.StatusTooManyRequests)
				answered <- struct{}{}
			}))
			inner := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
			c := r.dial()
			c.send("POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 300<<10, strings.Repeat("b", 64<<10))
			if res, _ := c.answer("POST"); res.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("status %d, want 429", res.StatusCode)
			}
			r.record()
			// The rest of the body is made of requests.
			_, _ = io.WriteString(c, strings.Repeat(inner, 1000))
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			rest, _ := io.ReadAll(c.br)
			if smuggled.Load() > 0 || bytes.Contains(rest, []byte("HTTP/1.1")) {
				t.Errorf("the body's rest was served as %d requests; the client read %.60q", smuggled.Load(), rest)
			}
		})
	}
}

// A client that writes all of its body before it reads anything gets the early
// answer all the same.
func TestEarlyAnswerToAClientThatWritesFirst(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				_, _ = io.WriteString(w, refusal)
			}))
			const size = 24 << 20
			c := r.dial()
			c.send("POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
			if _, err := io.CopyN(c, zeros{}, size); err != nil {
				t.Fatalf("the upload broke: %v", err)
			}
			res, body := c.answer("POST")
			if res.StatusCode != http.StatusRequestEntityTooLarge || body != refusal || !res.Close {
				t.Errorf("got %d %q, close %v", res.StatusCode, body, res.Close)
			}
			if rec := r.record(); rec.Outcome != "completed" || rec.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("record %+v", rec)
			}
		})
	}
}
