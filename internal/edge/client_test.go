package edge

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
	"testing"
	"time"
)

// engines are the two ways to serve HTTP/1: what one promises, both keep.
var engines = []struct {
	name string
	make func(Handler, Options) *Server
}{{"own", New}, {"nethttp", newOverHTTP}}

// newOverHTTP is New with all protocols by net/http's server, which is lenient
// where RFC 9112 is not.
func newOverHTTP(h Handler, o Options) *Server {
	s := newServer("proxy", o)
	server := http2Server(overHTTP{h}, o, narrowWindow)
	server.Protocols.SetHTTP1(true)
	s.engine = server
	return s
}

// onEach runs a test on both engines.
func onEach(t *testing.T, run func(t *testing.T, open func(handlerFunc) *doorway)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			run(t, func(h handlerFunc) *doorway { return openDoor(t, e.make(h, Options{})) })
		})
	}
}

type handlerFunc func(Client)

func (f handlerFunc) ServeExchange(c Client) { f(c) }

// doorway is a server on loopback.
type doorway struct {
	t      *testing.T
	server *Server
	addr   string
}

func openDoor(t *testing.T, s *Server) *doorway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeListener(ctx, ln) }()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-done
	})
	return &doorway{t: t, server: s, addr: ln.Addr().String()}
}

// caller is a client that speaks by hand.
type caller struct {
	*net.TCPConn
	t  *testing.T
	br *bufio.Reader
}

func (d *doorway) dial() *caller {
	d.t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &caller{c.(*net.TCPConn), d.t, bufio.NewReader(c)}
}

func (c *caller) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// answer reads a whole answer to a request with the method.
func (c *caller) answer(method string) (*http.Response, string, error) {
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// rest is all that comes until the connection ends.
func (c *caller) rest() (string, error) {
	b, err := io.ReadAll(c.br)
	return string(b), err
}

// say answers with a text of known length.
func say(c Client, text string) {
	if r := c.Request().Refusal; r != nil {
		c.Respond(Head{Status: r.Status, ContentLength: int64(len(r.Reason)), Header: http.Header{"Content-Type": {"text/plain"}}})
		_, _ = io.WriteString(c, r.Reason)
		_ = c.Finish(nil)
		return
	}
	c.Respond(Head{Status: 200, ContentLength: int64(len(text))})
	_, _ = io.WriteString(c, text)
	_ = c.Finish(nil)
}

// echo answers with what it read of the request.
func echo(c Client) {
	r := c.Request()
	if r.Refusal != nil {
		say(c, "")
		return
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			say(c, "error: "+err.Error())
			return
		}
	}
	say(c, fmt.Sprintf("%s %s %d %d %q", r.Method, r.Target, r.Proto, r.ContentLength, body))
}

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
		if r.Host != "a.example" || fmt.Sprint(r.Header) != fmt.Sprint(want) {
			t.Errorf("host %q, header %v; want %v", r.Host, r.Header, want)
		}
	})
}

// Requests that were sent without waiting are answered in order, and none
// reads of another's bytes.
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

func TestAnswersOnTheWire(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		for _, tc := range []struct {
			name, method, proto string
			head                Head
			content             []string
			trailer             http.Header
			want                string
		}{
			{"a length", "GET", "1.1", Head{Status: 200, ContentLength: 3}, []string{"abc"}, nil, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"},
			{"chunks", "GET", "1.1", Head{Status: 200, ContentLength: -1}, []string{"abc", strings.Repeat("d", 20)}, nil,
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n14\r\n" + strings.Repeat("d", 20) + "\r\n0\r\n\r\n"},
			{"trailers", "GET", "1.1", Head{Status: 200, ContentLength: -1, Trailer: http.Header{"X-T": nil}}, []string{"a"}, http.Header{"X-T": {"1"}},
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"},
			{"HEAD with a length", "HEAD", "1.1", Head{Status: 200, ContentLength: 3}, nil, nil, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
			{"HEAD without", "HEAD", "1.1", Head{Status: 200, ContentLength: -1}, nil, nil, "HTTP/1.1 200 OK\r\n\r\n"},
			{"no content", "GET", "1.1", Head{Status: 204, ContentLength: 0}, nil, nil, "HTTP/1.1 204 No Content\r\n\r\n"},
			{"not modified", "GET", "1.1", Head{Status: 304, ContentLength: -1, Header: http.Header{"Etag": {"x"}}}, nil, nil, "HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n"},
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

func TestInterimAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(func(c Client) {
			_ = c.Interim(103, http.Header{"Link": {"</a>"}})
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
		// HTTP/1.0 knows none of it (RFC 9110 15.2, 10.1.1).
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

// A client that leaves is noticed at once, in every phase.
func TestAClientThatLeaves(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		for _, tc := range []struct {
			name, sent string
			read       bool // the handler reads the body
			stream     bool
			reset      bool
		}{
			{"waiting", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, false, false},
			{"waiting with a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", true, false, false},
			{"waiting with chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", true, false, false},
			{"streaming", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, true, false},
			{"a reset", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, true, true},
			{"uploading", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}", true, false, false},
		} {
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			d := open(func(c Client) {
				if tc.stream {
					c.Respond(Head{Status: 200, ContentLength: -1})
					_, _ = io.WriteString(c, "x")
				}
				if tc.read {
					if tc.name == "uploading" {
						begun <- struct{}{}
					}
					_, _ = io.Copy(io.Discard, c.Request().Body)
				}
				begun <- struct{}{}
				select {
				case <-c.Context().Done():
					ended <- context.Cause(c.Context())
				case <-time.After(patience):
					ended <- errors.New("nobody said")
				}
			})
			c := d.dial()
			c.send(tc.sent)
			<-begun
			if tc.stream {
				if _, err := http.ReadResponse(c.br, nil); err != nil {
					t.Fatal(err)
				}
			}
			if tc.reset {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
			if err := <-ended; err != ErrGone {
				t.Errorf("%s: the cause is %v, want ErrGone", tc.name, err)
			}
		}
	})
}

// HungUp sees the end behind a body that nobody reads.
func TestHungUpBehindABody(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		entered, closed, said := make(chan struct{}), make(chan struct{}), make(chan bool, 2)
		d := open(func(c Client) {
			said <- c.HungUp()
			entered <- struct{}{}
			<-closed
			for late := time.Now().Add(patience); !c.HungUp() && time.Now().Before(late); {
			}
			said <- c.HungUp()
		})
		c := d.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 50000))
		<-entered
		_ = c.Close()
		close(closed)
		if before, after := <-said, <-said; before || !after {
			t.Errorf("hung up: before %v, after %v", before, after)
		}
	})
}

// An answer that is broken off never looks whole.
func TestAbort(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		for _, tc := range []struct {
			name, proto string
			length      int64
			content     string
			quietly     bool // the handler just returns
			reset       bool
		}{
			{"before the head", "1.1", -1, "", false, false},
			{"in chunks", "1.1", -1, "x", false, false},
			{"in chunks, quietly", "1.1", -1, "x", true, false},
			{"of a length", "1.1", 9, "x", false, false},
			{"of a length, quietly", "1.1", 9, "x", true, false},
			{"HTTP/1.0 without a length", "1.0", -1, "x", false, true},
			{"HTTP/1.0 without a length, quietly", "1.0", -1, "x", true, true},
		} {
			read := make(chan struct{})
			d := open(func(c Client) {
				c.Respond(Head{Status: 200, ContentLength: tc.length})
				if tc.content != "" {
					_, _ = io.WriteString(c, tc.content)
					<-read
				}
				if !tc.quietly {
					c.Abort()
					if _, err := io.WriteString(c, "y"); err != ErrClosed {
						t.Errorf("%s: a write behind it says %v", tc.name, err)
					}
				}
			})
			c := d.dial()
			c.send("GET / HTTP/" + tc.proto + "\r\nHost: x\r\n\r\n")
			if tc.content != "" {
				if _, err := c.br.Peek(1); err != nil {
					t.Fatal(err)
				}
				close(read)
			}
			rest, err := c.rest()
			if strings.HasSuffix(rest, "0\r\n\r\n") || strings.Contains(rest, "y") {
				t.Errorf("%s: %q looks whole", tc.name, rest)
			}
			if tc.reset != (err != nil) {
				t.Errorf("%s: the client read %q, %v; want a reset: %v", tc.name, rest, err, tc.reset)
			}
		}
	})
}

// Abort, from another goroutine, ends a write that waits for a client who does
// not read; so does a deadline.
func TestAWriteThatWaitsEnds(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		for _, tc := range []struct {
			name string
			end  func(Client)
			want error
		}{
			{"abort", func(c Client) { c.Abort() }, ErrClosed},
			{"deadline", func(c Client) { _ = c.SetWriteDeadline(time.Now().Add(-time.Hour)) }, ErrStalled},
		} {
			said := make(chan error, 1)
			writing := make(chan Client, 1)
			d := open(func(c Client) {
				c.Respond(Head{Status: 200, ContentLength: -1})
				writing <- c
				for {
					if _, err := c.Write(make([]byte, 64<<10)); err != nil {
						said <- err
						return
					}
				}
			})
			c := d.dial()
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			client := <-writing
			time.AfterFunc(50*time.Millisecond, func() { tc.end(client) })
			if err := <-said; !errors.Is(err, tc.want) {
				t.Errorf("%s: the write says %v, want %v", tc.name, err, tc.want)
			}
		}
	})
}

// Close, from another goroutine, ends a Read that waits. The answer behind it
// arrives, and nothing of the upload is taken for a request.
func TestClosingABody(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		d := open(func(c Client) {
			body := c.Request().Body
			if body == nil {
				t.Errorf("a request %s", c.Request().Target)
				return
			}
			time.AfterFunc(20*time.Millisecond, func() { _ = body.Close() })
			_, err := io.Copy(io.Discard, body)
			if err != ErrClosed {
				t.Errorf("the read says %v", err)
			}
			if c.Context().Err() != nil {
				t.Error("the client is said to have left")
			}
			say(c, "enough")
		})
		c := d.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{}")
		res, body, err := c.answer("POST")
		if err != nil || body != "enough" || !res.Close {
			t.Errorf("%q %v", body, err)
		}
		_, _ = io.WriteString(c, strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 100))
		_ = c.CloseWrite()
		if rest, _ := c.rest(); rest != "" {
			t.Errorf("behind the answer: %.60q", rest)
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

// The door is closed for a drain: what is idle ends at once, what runs is
// finished and says goodbye.
func TestClosingTheDoor(t *testing.T) {
	onEach(t, func(t *testing.T, open func(handlerFunc) *doorway) {
		begun, finish := make(chan struct{}), make(chan struct{})
		d := open(func(c Client) {
			if c.Request().Target == "/long" {
				begun <- struct{}{}
				<-finish
			}
			say(c, "done")
		})
		idle, running := d.dial(), d.dial()
		idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body, err := idle.answer("GET"); err != nil || body != "done" {
			t.Fatal(err)
		}
		running.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		d.server.CloseDoor()
		if rest, err := idle.rest(); rest != "" || err != nil {
			t.Errorf("the idle connection: %q, %v", rest, err)
		}
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			ended <- d.server.Shutdown(ctx)
		}()
		close(finish)
		if res, body, err := running.answer("GET"); err != nil || body != "done" || !res.Close {
			t.Errorf("the running one: %v %q %v", res, body, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
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
		var p http.Protocols
		p.SetUnencryptedHTTP2(true)
		tr := &http.Transport{Protocols: &p}
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
