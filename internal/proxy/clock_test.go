package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run on virtual time: hours pass in milliseconds, and a limit is
// met to the second.

const (
	headLimit = 60 * time.Second
	idleLimit = 30 * time.Second
)

// bubble runs a test on virtual time against an API that handles each request
// with do, which returns false to close the connection.
func bubble(t *testing.T, do func(n int, c net.Conn, r *http.Request) bool, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := piped(t, func(n int, c net.Conn) {
			br := bufio.NewReader(c)
			for {
				r, err := http.ReadRequest(br)
				if err != nil || !do(n, c, r) {
					return
				}
			}
		})
		o.limits = Limits{HeaderTimeout: headLimit, IdleTimeout: idleLimit}
		o.places, o.queue = 1, 10*time.Second
		test(t, newRig(t, o))
	})
}

// taciturn is an API that reads and never answers.
func taciturn(_ int, c net.Conn, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = c.Read(make([]byte, 1))
	return false
}

func within(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+2*time.Second {
		t.Errorf("%s: it took %v, want %v", what, got, want)
	}
}

func TestHeaderTimeout(t *testing.T) {
	for _, tc := range []struct {
		name, method, stainless string
		want                    time.Duration
		attempts                int
	}{
		{"a POST is tried once", "POST", "", headLimit, 1},
		{"a GET three times", "GET", "", 3 * headLimit, 3},
		{"the client's own limit is longer", "POST", "600", 600 * time.Second, 1},
		{"the client's own limit is shorter", "POST", "5", headLimit, 1},
		{"the client asks for a day", "POST", "86400", time.Hour, 1},
		{"the client's limit is nonsense", "POST", "NaN", headLimit, 1},
		{"the client's limit is infinite", "POST", "Inf", time.Hour, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, taciturn, func(t *testing.T, r *rig) {
				c := r.dial()
				begin := time.Now()
				c.send("%s /v1/x HTTP/1.1\r\nHost: x\r\nX-Stainless-Timeout: %s\r\nContent-Length: 4\r\n\r\nbody", tc.method, tc.stainless)
				res, body := c.answer(tc.method)
				within(t, "the answer", time.Since(begin), tc.want)
				rec := r.record()
				if res.StatusCode != 504 || !strings.Contains(body, "timeout_error") || rec.Attempts != tc.attempts || rec.ErrorType != "timeout" {
					t.Errorf("status %d %s, record %+v; want 504 after %d attempts", res.StatusCode, body, rec, tc.attempts)
				}
			})
		})
	}
}

// The limit on the head counts from the end of an upload, however long that
// takes.
func TestHeaderTimeoutCountsFromTheEndOfTheUpload(t *testing.T) {
	bubble(t, taciturn, func(t *testing.T, r *rig) {
		c := r.dial()
		begin := time.Now()
		c.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		const pieces = 10
		for range pieces {
			time.Sleep(idleLimit - time.Second)
			c.send("1\r\nb\r\n")
		}
		c.send("0\r\n\r\n")
		res, _ := c.answer("POST")
		within(t, "the answer", time.Since(begin), pieces*(idleLimit-time.Second)+headLimit)
		if res.StatusCode != 504 {
			t.Errorf("status %d, want 504", res.StatusCode)
		}
	})
}

func TestUploadThatStops(t *testing.T) {
	for _, length := range []string{"Content-Length: 100", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		t.Run(length, func(t *testing.T) {
			bubble(t, taciturn, func(t *testing.T, r *rig) {
				c := r.dial()
				begin := time.Now()
				c.send("POST /v1/x HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n4\r\nbody\r\n", length)
				res, _ := c.answer("POST")
				within(t, "the answer", time.Since(begin), idleLimit)
				rec := r.record()
				if res.StatusCode != 408 || rec.Outcome != "idle_timeout" || !res.Close {
					t.Errorf("status %d, close %v, record %+v; want 408, close, idle_timeout", res.StatusCode, res.Close, rec)
				}
			})
		})
	}
}

// An API that stops reading is not the client's fault.
func TestAPIThatStopsReading(t *testing.T) {
	bubble(t, func(int, net.Conn, *http.Request) bool { time.Sleep(10 * idleLimit); return false }, func(t *testing.T, r *rig) {
		c := r.dial()
		begin := time.Now()
		go func() {
			_, _ = fmt.Fprintf(c, "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("b", 1000000))
		}()
		res := c.head("POST")
		within(t, "the answer", time.Since(begin), idleLimit)
		if rec := r.record(); res.StatusCode != 504 || rec.ErrorType != "timeout" {
			t.Errorf("status %d, record %+v; want 504 timeout", res.StatusCode, rec)
		}
		_ = c.Close()
	})
}

// events streams SSE events with a pause before each, then does what the last
// function says.
func events(n int, every time.Duration, then func(c net.Conn)) func(int, net.Conn, *http.Request) bool {
	return func(_ int, c net.Conn, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range n {
			time.Sleep(every)
			_, _ = io.WriteString(c, "9\r\ndata: x\n\n\r\n")
		}
		then(c)
		return false
	}
}

func chunkedEnd(c net.Conn) { _, _ = io.WriteString(c, "0\r\n\r\n") }

// No clock runs over a stream, for clients of either protocol.
func TestAStreamOutlastsEveryLimit(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		for _, every := range []time.Duration{time.Second, idleLimit / 9, idleLimit - time.Second} {
			t.Run(fmt.Sprintf("http1=%v, an event every %v", http1, every), func(t *testing.T) {
				const n = 50
				bubble(t, events(n, every, chunkedEnd), func(t *testing.T, r *rig) {
					got, err := post(r.client(http1), r.url("/v1/messages"), []byte("body"))
					if want := strings.Repeat("data: x\n\n", n); err != nil || got != want {
						t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
					}
					if rec := r.record(); rec.Outcome != "completed" {
						t.Errorf("outcome %s, want completed", rec.Outcome)
					}
				})
			})
		}
	}
}

// A head may take longer than a stream may stand still, for clients of either
// protocol, and whether or not an interim answer came before.
func TestALateHead(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		for _, early := range []string{"", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"} {
			t.Run(fmt.Sprintf("http1=%v, before it %.12q", http1, early), func(t *testing.T) {
				bubble(t, func(_ int, c net.Conn, r *http.Request) bool {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, early)
					time.Sleep(headLimit - time.Second)
					_, _ = io.WriteString(c, fine)
					return true
				}, func(t *testing.T, r *rig) {
					if got, err := post(r.client(http1), r.url("/v1/x"), []byte("body")); err != nil || got != "fine" {
						t.Errorf("got %q, %v", got, err)
					}
				})
			})
		}
	}
}

func TestAnAnswerThatStandsStill(t *testing.T) {
	hang := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	for _, http1 := range []bool{true, false} {
		t.Run(fmt.Sprintf("http1=%v", http1), func(t *testing.T) {
			bubble(t, events(2, time.Second, hang), func(t *testing.T, r *rig) {
				begin := time.Now()
				got, err := post(r.client(http1), r.url("/v1/messages"), []byte("body"))
				within(t, "the end", time.Since(begin), idleLimit+2*time.Second)
				if err == nil || got != "data: x\n\ndata: x\n\n" {
					t.Errorf("got %q, %v; want the events and a broken stream", got, err)
				}
				if rec := r.record(); rec.Outcome != "idle_timeout" || rec.Status != 200 {
					t.Errorf("record %+v, want idle_timeout", rec)
				}
			})
		})
	}
}

// A client that stops reading is cut, and the API hears of it.
func TestAClientThatStopsReading(t *testing.T) {
	flood := func(_ int, c net.Conn, r *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for {
			if _, err := io.WriteString(c, "data: x\n\n"); err != nil {
				return false
			}
		}
	}
	bubble(t, flood, func(t *testing.T, r *rig) {
		c := r.dial()
		begin := time.Now()
		c.send("GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
		c.head("GET")
		rec := r.record()
		if took := time.Since(begin); took > idleLimit+2*time.Second {
			t.Errorf("it took %v, want at most %v", took, idleLimit)
		}
		if rec.Outcome != "idle_timeout" {
			t.Errorf("outcome %s, want idle_timeout", rec.Outcome)
		}
		synctest.Wait()
		if n, _ := r.connections(); n != 0 {
			t.Errorf("%d connections to the API are open, want none", n)
		}
		_ = c.Close()
	})
}

func TestTheQueueGivesUpInTime(t *testing.T) {
	bubble(t, taciturn, func(t *testing.T, r *rig) {
		first := r.dial()
		first.send("GET /v1/first HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		c := r.dial()
		begin := time.Now()
		c.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
		res, body := c.answer("POST")
		within(t, "the refusal", time.Since(begin), 10*time.Second)
		rec := r.record()
		if res.StatusCode != 503 || !strings.Contains(body, "api_error") || res.Header.Get("Retry-After") != "5" || res.Header.Get("X-Should-Retry") != "true" || rec.Attempts != 0 || rec.ErrorType != "overloaded" {
			t.Errorf("status %d %s %v, record %+v", res.StatusCode, body, res.Header, rec)
		}
		_ = first.Close()
	})
}
