package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

// halves are answers that break in the middle, by their framing. The API's end is
// a reset: one that is close-delimited cannot be told from a clean end otherwise.
var halves = map[string]string{
	"chunked":         "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n",
	"with a length":   "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ndata: x\n\n",
	"close-delimited": "HTTP/1.1 200 OK\r\n\r\ndata: x\n\n",
}

// However an answer is framed and whoever the client is, a broken one breaks so
// that nobody can take it for whole.
func TestABrokenAnswerBreaks(t *testing.T) {
	for framing, half := range halves {
		for _, version := range []string{"1.0", "1.1"} {
			t.Run(framing+"/HTTP "+version, func(t *testing.T) {
				read := make(chan struct{})
				api := scripted(t, func(_ int, c net.Conn) {
					_, _ = readHead(bufio.NewReader(c))
					_, _ = io.WriteString(c, half)
					<-read
					_ = c.(*net.TCPConn).SetLinger(0)
				})
				r := newRig(t, options{api: api})
				c := r.dial()
				c.send("GET / HTTP/%s\r\nHost: x\r\n\r\n", version)
				res := c.head("GET")
				event := make([]byte, 9)
				if _, err := io.ReadFull(res.Body, event); err != nil {
					t.Fatal(err)
				}
				close(read)
				raw, err := io.ReadAll(c.br)
				switch {
				case strings.Contains(string(raw), "0\r\n\r\n"), strings.Contains(string(raw), "error"):
					t.Errorf("behind the event came %q", raw)
				case version == "1.0" && framing != "with a length" && !errors.Is(err, syscall.ECONNRESET):
					t.Errorf("an answer that ends with its connection ended in %q, %v; want a reset", raw, err)
				}
				if rec := r.record(); rec.Outcome != "upstream_cut" || rec.By != "upstream" || rec.In != "stream" {
					t.Errorf("record %+v", rec)
				}
			})
		}
	}
}

// Over HTTP/2 a broken answer is a reset stream, and its connection goes on.
func TestABrokenAnswerResetsItsStreamAlone(t *testing.T) {
	r := newRig(t, served(t, "tls2", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/cut" {
			_, _ = io.WriteString(w, "data: x\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "fine")
	}))
	p := r.h2peer()
	p.Head(1, true, ":method", "GET", ":path", "/cut", ":scheme", "http", ":authority", "x")
	for {
		f := p.Next()
		if rst, ok := f.(*http2.RSTStreamFrame); ok {
			if rst.StreamID != 1 {
				t.Errorf("stream %d was reset", rst.StreamID)
			}
			break
		}
		if data, ok := f.(*http2.DataFrame); f == nil || ok && data.StreamEnded() {
			t.Fatalf("the stream ended with %v", f)
		}
	}
	p.Head(3, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "x")
	if status := statusOf(p); status != "200" {
		t.Errorf("the next stream of the connection got %q", status)
	}
}

// What one client did wrong is no reason to send its neighbours on the same
// HTTP/2 connection away.
func TestNeighboursStayOnTheirConnection(t *testing.T) {
	api := newHeld()
	o := served(t, "plain", api.serve)
	o.limits.MaxBodyBytes = 100
	r := newRig(t, o)
	p := r.h2peer()
	p.Head(1, true, ":method", "GET", ":path", "/neighbour", ":scheme", "http", ":authority", "x")
	testkit.Eventually(t, "the neighbour is in", func() bool { return api.seen() == "/neighbour" })
	p.Head(3, false, ":method", "POST", ":path", "/large", ":scheme", "http", ":authority", "x", "content-length", "1000")
	p.Head(5, true, ":method", "GET", ":path", "/a b", ":scheme", "http", ":authority", "x")
	answers := map[uint32]string{}
	for len(answers) < 3 {
		switch f := p.Next().(type) {
		case nil:
			t.Fatal("the connection was closed")
		case *http2.GoAwayFrame:
			t.Fatalf("GOAWAY %v", f.ErrCode)
		case *http2.MetaHeadersFrame:
			answers[f.StreamID] = f.PseudoValue("status")
			if len(answers) == 2 {
				close(api.free)
			}
		}
	}
	if answers[1] != "200" || answers[3] != "413" || answers[5] != "400" {
		t.Errorf("the answers are %v", answers)
	}
}

// An interim answer has a clock of its own, which ends with it: what the client
// is sent afterwards, a 100 (Continue) included, may take its time.
func TestEarlyHintsBeforeThePermission(t *testing.T) {
	api := scripted(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := readHead(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
		if _, err := io.ReadFull(br, make([]byte, 4)); err == nil {
			_, _ = io.WriteString(c, fine)
		}
	})
	r := newRig(t, options{api: api})
	var all sync.WaitGroup
	for range 12 {
		c := r.dial()
		all.Go(func() {
			began := time.Now()
			c.send("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			for _, want := range []int{103, 100} {
				if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != want {
					t.Errorf("got %v, %v; want %d", res, err, want)
					return
				}
			}
			_, _ = io.WriteString(c, "bo")
			<-time.After(time.Until(began.Add(1200 * time.Millisecond))) // beyond the interim answer's clock
			_, _ = io.WriteString(c, "dy")
			if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != 200 {
				t.Errorf("got %v, %v; want 200", res, err)
			}
		})
	}
	all.Wait()
}

// The head goes when it comes, however long its content lets wait.
func TestTheHeadGoesWhenItComes(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		t.Run(fmt.Sprintf("http1=%v", http1), func(t *testing.T) {
			seen := make(chan struct{})
			api := scripted(t, func(_ int, c net.Conn) {
				_, _ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
				<-seen
				_, _ = io.WriteString(c, "fine")
			})
			r := newRig(t, options{api: api})
			res, err := r.client(http1).Get(r.url("/"))
			if err != nil {
				t.Fatal(err)
			}
			close(seen)
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "fine" || res.ContentLength != 4 {
				t.Errorf("got %q of %d, %v", body, res.ContentLength, err)
			}
			_ = res.Body.Close()
		})
	}
}

// A write that waits for a client which does not read ends with the drain's
// deadline, and its place is free.
func TestTheDeadlineReachesABlockedWrite(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		t.Run(fmt.Sprintf("http1=%v", http1), func(t *testing.T) {
			var written atomic.Int64
			r := newRig(t, served(t, "plain", func(w http.ResponseWriter, _ *http.Request) {
				for {
					n, err := w.Write(make([]byte, 64<<10))
					if err != nil {
						return
					}
					written.Add(int64(n))
				}
			}))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", r.url("/"), nil)
			res, err := r.client(http1).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			testkit.Eventually(t, "the write waits", func() bool {
				before := written.Load()
				<-time.After(50 * time.Millisecond)
				return before > 0 && written.Load() == before
			})
			r.handler.Gate.Close()
			r.handler.Gate.End(ErrDrained)
			select {
			case <-r.handler.Gate.Idle():
			case <-time.After(2 * time.Second):
				t.Error("the place is still taken after the deadline")
			}
			if rec := r.record(); rec.Outcome != "drained" || rec.By != "proxy" || rec.In != "stream" {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// The place is free and the answer ended before a line is written about it: a
// log that stands still holds nobody up.
func TestNothingWaitsForTheLog(t *testing.T) {
	api := newHeld()
	close(api.free)
	o := served(t, "plain", api.serve)
	o.places, o.queue = 1, patience
	r := newRig(t, o)
	r.journal.block()
	defer r.journal.unblock()
	for range 3 {
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
	}
}
