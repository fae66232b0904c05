package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

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

// A reset reaches an exchange whose content nobody reads: its upload may stand
// still because the API does.
func TestAResetUnderAnUploadThatStands(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	d := openDoor(t, New(handlerFunc(func(c Client) {
		close(begun)
		select {
		case <-c.Context().Done():
			ended <- context.Cause(c.Context())
		case <-time.After(patience):
			ended <- errors.New("nobody said")
		}
	}), Options{}))
	c := d.dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 50000))
	<-begun
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-ended; err != ErrGone {
		t.Errorf("the cause is %v, want ErrGone", err)
	}
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

// A request that stands behind a running answer when the door closes is answered
// too; the connection closes behind it (9112 9.6).
func TestAQueuedRequestAtTheClosingDoor(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	d := openDoor(t, New(handlerFunc(func(c Client) {
		if c.Request().Target == "/long" {
			c.Respond(Head{Status: 200, ContentLength: -1})
			_ = c.Flush()
			close(begun)
			<-finish
			_ = c.Finish(nil)
			return
		}
		say(c, "next")
	}), Options{}))
	c := d.dial()
	c.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	d.server.CloseDoor()
	close(finish)
	if res, _, err := c.answer("GET"); err != nil || res.Close {
		t.Errorf("the running one: %v, %v", res, err)
	}
	if res, body, err := c.answer("GET"); err != nil || body != "next" || !res.Close {
		t.Errorf("the next one: %v %q, %v", res, body, err)
	}
	if rest, err := c.rest(); rest != "" || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
}

// Over HTTP/2, too, a write that its deadline ends is a client's that stopped
// reading, not one's that left.
func TestADeadlineOverHTTP2(t *testing.T) {
	said := make(chan error, 1)
	d := openDoor(t, New(handlerFunc(func(c Client) {
		c.AtEnd(c.Abort) // as whoever relays an answer does
		c.Respond(Head{Status: 200, ContentLength: -1})
		_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				said <- err
				return
			}
		}
	}), Options{}))
	tr := cleartextHTTP2()
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://" + d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := <-said; err != ErrStalled {
		t.Errorf("the write says %v", err)
	}
}

// What a client over HTTP/2 left before it took it was not written: an answer in
// the server's buffer is none.
func TestAWriteOverHTTP2ThatFails(t *testing.T) {
	begun, wrote := make(chan struct{}), make(chan int, 1)
	d := openDoor(t, New(handlerFunc(func(c Client) {
		close(begun)
		c.Respond(Head{Status: 200, ContentLength: 5})
		n, err := io.WriteString(c, "hello")
		if err != ErrGone {
			t.Errorf("the write says %v", err)
		}
		wrote <- n
	}), Options{}))
	c := d.dial()
	c.send(http2.ClientPreface)
	f := http2.NewFramer(c, c.br)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true,
		BlockFragment: testkit.HeaderBlock(":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/")})
	<-begun
	_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
	if n := <-wrote; n != 0 {
		t.Errorf("%d bytes were written to who took none", n)
	}
}

// A client that leaves in the middle of its upload over HTTP/2 has left: its
// content is not called malformed.
func TestAnUploadOverHTTP2ThatBreaksOff(t *testing.T) {
	read, said := make(chan struct{}), make(chan error)
	d := openDoor(t, New(handlerFunc(func(c Client) {
		_, _ = c.Request().Body.Read(make([]byte, 1))
		read <- struct{}{}
		_, err := io.Copy(io.Discard, c.Request().Body)
		said <- err
	}), Options{}))
	for range 50 {
		conns := make(chan net.Conn, 1)
		tr := cleartextHTTP2()
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			conns <- c
			return c, err
		}
		pr, pw := io.Pipe()
		go func() {
			if res, err := (&http.Client{Transport: tr}).Post("http://"+d.addr+"/", "", pr); err == nil {
				res.Body.Close()
			}
		}()
		_, _ = pw.Write([]byte("{"))
		<-read
		_ = (<-conns).Close()
		if err := <-said; err != ErrGone {
			t.Fatalf("the read says %v", err)
		}
		_ = pw.Close()
		tr.CloseIdleConnections()
	}
}
