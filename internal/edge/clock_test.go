package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// inMemory runs a test in a bubble of time, with a way to dial a server.
func inMemory(t *testing.T, h handlerFunc, run func(t *testing.T, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		s, p := New(h, Options{}), testkit.NewPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeListener(ctx, p) }()
		run(t, func() net.Conn {
			c, err := p.Dial()
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
		s.Close()
		cancel()
		<-done
	})
}

// A head has ten seconds, however it comes; a connection that says nothing is
// closed without a word.
func TestSlowHeads(t *testing.T) {
	var refusals sync.Map
	inMemory(t, func(c Client) {
		if r := c.Request().Refusal; r != nil {
			refusals.Store(r.Reason, true)
		}
		say(c, "ok")
	}, func(t *testing.T, dial func() net.Conn) {
		for _, tc := range []struct {
			name string
			play func(c net.Conn)
			want string
			took time.Duration
		}{
			{"nothing", func(net.Conn) {}, "", headTimeout},
			{"a byte", func(c net.Conn) { _, _ = io.WriteString(c, "G") }, "HTTP/1.1 408 ", headTimeout},
			{"a byte a second", func(c net.Conn) {
				for _, b := range []byte("GET /" + strings.Repeat("a", 60)) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}, "HTTP/1.1 408 ", headTimeout},
			{"the start of HTTP/2", func(c net.Conn) { _, _ = io.WriteString(c, "PRI * HT") }, "HTTP/1.1 408 ", headTimeout},
			{"a byte of HTTP/2 every nine seconds", func(c net.Conn) {
				for _, b := range []byte("PRI") {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(headTimeout - time.Second)
				}
			}, "HTTP/1.1 408 ", headTimeout},
		} {
			c := dial()
			began := time.Now()
			var sending sync.WaitGroup
			sending.Go(func() { tc.play(c) })
			line, err := bufio.NewReader(c).ReadString('\n')
			took := time.Since(began)
			_ = c.Close()
			sending.Wait()
			if !strings.HasPrefix(line, tc.want) || tc.want == "" && err != io.EOF || took != tc.took {
				t.Errorf("%s: %q, %v after %v; want %q after %v", tc.name, line, err, took, tc.want, tc.took)
			}
		}
		if _, told := refusals.Load(slowHead.Reason); !told {
			t.Error("nobody was told of a slow head")
		}
	})
}

// An idle connection stays for three minutes, and the clock of one request
// does not reach into the next.
func TestKeepAlive(t *testing.T) {
	inMemory(t, func(c Client) {
		time.Sleep(10 * keepAlive)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		say(c, "ok")
	}, func(t *testing.T, dial func() net.Conn) {
		c := dial()
		defer c.Close()
		br := bufio.NewReader(c)
		for range 3 {
			time.Sleep(keepAlive / 20)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(res.Body)
		}
		began := time.Now()
		if _, err := br.ReadByte(); err != io.EOF || time.Since(began) != keepAlive {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Without a socket to watch, a client that leaves is noticed all the same, and
// what it sends ahead is not lost.
func TestWhereNobodyWatches(t *testing.T) {
	cause := make(chan error, 1)
	inMemory(t, func(c Client) {
		if c.Request().Target == "/wait" {
			<-c.Context().Done()
			cause <- context.Cause(c.Context())
			return
		}
		synctest.Wait()
		say(c, c.Request().Target)
	}, func(t *testing.T, dial func() net.Conn) {
		c := dial()
		go func() {
			for _, target := range []string{"/a", "/b", "/wait"} {
				_, _ = io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
			}
		}()
		br := bufio.NewReader(c)
		for _, want := range []string{"/a", "/b"} {
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(res.Body); string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
		synctest.Wait()
		_ = c.Close()
		if err := <-cause; !errors.Is(err, ErrGone) {
			t.Errorf("the cause is %v", err)
		}
	})
}

// An empty line behind a request's content begins no head (9112 2.2): the connection is as
// idle as before, however long it stays so.
func TestABlankLineBehindTheContent(t *testing.T) {
	inMemory(t, func(c Client) {
		_, _ = io.Copy(io.Discard, c.Request().Body)
		say(c, "ok")
	}, func(t *testing.T, dial func() net.Conn) {
		const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}\r\n"
		c := dial()
		br := bufio.NewReader(c)
		for range 3 {
			go func() { _, _ = io.WriteString(c, post) }()
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || err != nil {
				t.Errorf("status %d, %q, %v", res.StatusCode, body, err)
			}
			time.Sleep(2 * headTimeout)
		}
		_ = c.Close()
	})
}
