package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// An answer has one framing, and the one that its client and its status allow
// (9110 8.6, 9110 9.3.2, 9112 6.1, 9112 6.2, 9112 9.6).
func TestAnswersOnTheWire(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		for _, tc := range []struct {
			name, method, proto string
			head                Head
			content             []string
			trailer             headers.Fields
			want                string
		}{
			{"a length", "GET", "1.1", Head{Status: 200, ContentLength: 3}, []string{"abc"}, nil, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"},
			{"chunks", "GET", "1.1", Head{Status: 200, ContentLength: -1}, []string{"abc", strings.Repeat("d", 20)}, nil,
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n14\r\n" + strings.Repeat("d", 20) + "\r\n0\r\n\r\n"},
			{"trailers", "GET", "1.1", Head{Status: 200, ContentLength: -1, Trailer: []string{"X-T"}}, []string{"a"}, headers.Fields{{Name: "X-T", Value: "1"}},
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"},
			{"HEAD with a length", "HEAD", "1.1", Head{Status: 200, ContentLength: 3}, nil, nil, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
			{"HEAD without", "HEAD", "1.1", Head{Status: 200, ContentLength: -1}, nil, nil, "HTTP/1.1 200 OK\r\n\r\n"},
			{"no content", "GET", "1.1", Head{Status: 204, ContentLength: 0}, nil, nil, "HTTP/1.1 204 No Content\r\n\r\n"},
			{"not modified", "GET", "1.1", Head{Status: 304, ContentLength: -1, Header: headers.Fields{{Name: "Etag", Value: "x"}}}, nil, nil, "HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n"},
			{"close", "GET", "1.1", Head{Status: 200, ContentLength: 1, Close: true}, []string{"a"}, nil, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"},
			{"an old client", "GET", "1.0", Head{Status: 200, ContentLength: -1}, []string{"a", "b"}, nil, "HTTP/1.0 200 OK\r\n\r\nab"},
			{"a long piece", "GET", "1.1", Head{Status: 200, ContentLength: -1}, []string{strings.Repeat("e", 9000)}, nil,
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2328\r\n" + strings.Repeat("e", 9000) + "\r\n0\r\n\r\n"},
		} {
			d := open(func(c Client) {
				c.Respond(tc.head)
				for _, p := range tc.content {
					if n, err := io.WriteString(c, p); n != len(p) || err != nil {
						t.Errorf("%s: wrote %d, %v", tc.name, n, err)
					}
				}
				if err := c.Finish(tc.trailer); err != nil {
					t.Errorf("%s: Finish: %v", tc.name, err)
				}
			})
			c := d.dial()
			c.send(tc.method + " / HTTP/" + tc.proto + "\r\nHost: x\r\n\r\n")
			got := make([]byte, len(tc.want))
			n, err := io.ReadFull(c.br, got)
			if !sameLines(string(got[:n]), tc.want) || err != nil {
				t.Errorf("%s: got\n%q, %v; want\n%q", tc.name, got[:n], err, tc.want)
			}
			_ = c.CloseWrite()
			if rest, err := c.rest(); rest != "" || err != nil {
				t.Errorf("%s: %q, %v behind the answer", tc.name, rest, err)
			}
		}
	})
}

// sameLines compares two answers whose header lines have no order.
func sameLines(a, b string) bool {
	headA, bodyA, _ := strings.Cut(a, "\r\n\r\n")
	headB, bodyB, _ := strings.Cut(b, "\r\n\r\n")
	linesA, linesB := strings.Split(headA, "\r\n"), map[string]bool{}
	for _, l := range strings.Split(headB, "\r\n") {
		linesB[l] = true
	}
	for _, l := range linesA {
		if !linesB[l] {
			return false
		}
	}
	return len(linesA) == len(linesB) && bodyA == bodyB
}

// What was written is on its way before the next is: nobody waits for a
// buffer to be full.
func TestEachWriteArrives(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		next := make(chan string)
		d := open(func(c Client) {
			c.Respond(Head{Status: 200, ContentLength: -1})
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			for s := range next {
				_, _ = io.WriteString(c, s)
			}
			_ = c.Finish(nil)
		})
		c := d.dial()
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"a", "bc", strings.Repeat("d", 30000)} {
			next <- s
			got := make([]byte, len(s))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != s {
				t.Fatalf("got %.20q, %v", got, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("the end: %q, %v", rest, err)
		}
	})
}

// Interim answers come before the final one, and not to HTTP/1.0 (9110 15.2).
func TestInterimAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(func(c Client) {
			_ = c.Interim(103, headers.Fields{{Name: "Link", Value: "</a>"}})
			_ = c.Interim(101, nil) // never
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			body, err := io.ReadAll(c.Request().Body)
			say(c, fmt.Sprintf("%s %v", body, err))
		})
		c := d.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		head := func() string {
			var b strings.Builder
			for !strings.HasSuffix(b.String(), "\r\n\r\n") {
				l, err := c.br.ReadString('\n')
				if err != nil {
					t.Fatalf("%q, %v", b.String(), err)
				}
				b.WriteString(l)
			}
			return b.String()
		}
		if got := head(); got != "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" {
			t.Errorf("first %q", got)
		}
		if got := head(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Errorf("then %q", got)
		}
		c.send("{}")
		if res, body, err := c.answer("POST"); err != nil || body != "{} <nil>" || res.Close {
			t.Errorf("%q, %v", body, err)
		}
		// HTTP/1.0 knows none of it (9110 15.2, 9110 10.1.1).
		c = d.dial()
		c.send("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}")
		if rest, err := c.rest(); !strings.HasPrefix(rest, "HTTP/1.0 200 OK\r\n") || err != nil {
			t.Errorf("HTTP/1.0: %q, %v", rest, err)
		}
	})
}

// An expectation that is not granted: the final answer alone comes, and the
// connection ends with it.
func TestExpectationThatIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		c := open(func(c Client) { say(c, "no") }).dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		res, body, err := c.answer("POST")
		if err != nil || body != "no" || !res.Close {
			t.Errorf("%v %q %v", res, body, err)
		}
		if rest, err := c.rest(); rest != "" || err != nil {
			t.Errorf("behind it: %q, %v", rest, err)
		}
	})
}

// An answer may come before the upload has ended, and it comes whole.
func TestEarlyAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(func(c Client) { say(c, "early") })
		for range 20 {
			c := d.dial()
			c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
			var all sync.WaitGroup
			all.Go(func() { _, _ = c.Write(make([]byte, 10000000)) })
			if _, body, err := c.answer("POST"); err != nil || body != "early" {
				t.Errorf("%q %v", body, err)
			}
			all.Wait()
		}
	})
}

// Both directions run at once.
func TestFullDuplex(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(func(c Client) {
			c.Respond(Head{Status: 200, ContentLength: -1})
			_ = c.Flush()
			buf := make([]byte, 4096)
			for {
				n, err := c.Request().Body.Read(buf)
				if n > 0 {
					_, _ = c.Write(buf[:n])
				}
				if err != nil {
					if err == io.EOF {
						_ = c.Finish(nil)
					}
					return
				}
			}
		})
		c := d.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			c.send("4\r\nping\r\n")
			got := make([]byte, 4)
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != "ping" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		c.send("0\r\n\r\n")
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

// Whose connection is cut because it did not take an interim answer has left: the
// API must not go on for nobody.
func TestAnInterimAnswerThatIsNotTaken(t *testing.T) {
	said, why := make(chan error, 1), make(chan error, 1)
	c := openDoor(t, New(handlerFunc(func(c Client) {
		_ = c.SetWriteDeadline(past)
		said <- c.Interim(103, nil)
		select {
		case <-c.Context().Done():
		case <-time.After(patience):
		}
		why <- context.Cause(c.Context())
	}), Options{})).dial()
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := <-said; err != ErrStalled {
		t.Errorf("the write says %v", err)
	}
	if cause := <-why; cause != ErrGone {
		t.Errorf("the exchange ends because %v", cause)
	}
}

// An upload goes on while its early answer waits for a client that sends all
// before it reads anything.
func TestAnUploadBesideAWriteThatWaits(t *testing.T) {
	c := openDoor(t, New(handlerFunc(func(c Client) {
		x := c.(*h1exchange)
		x.writing.Lock() // as such a write does
		body, err := io.ReadAll(c.Request().Body)
		x.writing.Unlock()
		say(c, fmt.Sprintf("%s %v", body, err))
	}), Options{})).dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	if _, body, err := c.answer("POST"); err != nil || body != "{} <nil>" {
		t.Errorf("%q, %v", body, err)
	}
}

// Pages of our own know GET and HEAD, whose answer has the length of the other's
// (RFC 9110 9.1, 9110 9.3.2, 9110 8.6).
func TestPages(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path+"|"+r.URL.RawQuery)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "page")
	})
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		c := open(func(c Client) { ServePage(c, page) }).dial()
		for _, method := range []string{"GET", "HEAD", "GET"} {
			c.send(method + " /health?a HTTP/1.1\r\nHost: x\r\n\r\n")
			res, body, err := c.answer(method)
			if err != nil || res.StatusCode != 418 || res.Header.Get("X-Path") != "/health|a" || res.ContentLength != 4 || (body == "page") != (method == "GET") {
				t.Errorf("%s: %v %q %v", method, res, body, err)
			}
		}
	})
}
