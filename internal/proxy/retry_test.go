package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

// play says what an API does with the n-th request that reaches it.
type play func(n int, p *testkit.Peer, r testkit.PeerRequest)

// h2plays is an API on HTTP/2 that counts requests over all connections.
func h2plays(t *testing.T, seen *tally, do play) options {
	return h2scripted(t, func(_ int, p *testkit.Peer) {
		for {
			r, ok := p.Request()
			if !ok {
				return
			}
			seen.add(r.Fields[":method"])
			do(seen.of(r.Fields[":method"]), p, r)
		}
	})
}

// h1plays is the same on HTTP/1.1; do returns false to close the connection.
func h1plays(t *testing.T, seen *tally, do func(n int, c net.Conn, r *http.Request) bool) options {
	return options{api: scripted(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			seen.add(r.Method)
			if !do(seen.of(r.Method), c, r) {
				return
			}
		}
	})}
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

// What is repeated cannot have been processed, or promises to change nothing
// (9110 9.2.2).
func TestRetriesAreExactlyTheDocumentedOnes(t *testing.T) {
	first := func(fault func(p *testkit.Peer, id uint32)) play {
		return func(n int, p *testkit.Peer, r testkit.PeerRequest) {
			if n == 1 {
				fault(p, r.ID)
				return
			}
			if r.Fields[":method"] == "HEAD" {
				p.Head(r.ID, true, ":status", "200")
				return
			}
			p.Answer(r.ID, "fine")
		}
	}
	refuse := func(p *testkit.Peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeRefusedStream) }
	excluding := func(p *testkit.Peer, id uint32) { _ = p.WriteGoAway(id-1, http2.ErrCodeNo, nil) }
	angry := func(p *testkit.Peer, id uint32) {
		_ = p.WriteGoAway(id-1, http2.ErrCodeEnhanceYourCalm, []byte("canary"))
	}
	including := func(p *testkit.Peer, id uint32) { _ = p.WriteGoAway(id, http2.ErrCodeNo, nil); _ = p.Conn.Close() }
	reset := func(p *testkit.Peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeInternal) }
	cut := func(p *testkit.Peer, _ uint32) { _ = p.Conn.Close() }
	until := func(n int, fault func(p *testkit.Peer, id uint32)) play {
		return func(i int, p *testkit.Peer, r testkit.PeerRequest) {
			if i < n {
				fault(p, r.ID)
				return
			}
			p.Answer(r.ID, "fine")
		}
	}
	always := func(fault func(p *testkit.Peer, id uint32)) play {
		return func(_ int, p *testkit.Peer, r testkit.PeerRequest) { fault(p, r.ID) }
	}
	for _, tc := range []struct {
		name, method  string
		do            play
		status, reach int
	}{
		{name: "refused stream", method: "POST", do: first(refuse), status: 200, reach: 2},
		{name: "refused seven times", method: "POST", do: until(8, refuse), status: 200, reach: 8},
		{name: "goaway excludes", method: "POST", do: first(excluding), status: 200, reach: 2},
		{name: "goaway with an error excludes", method: "POST", do: first(angry), status: 200, reach: 2},
		{name: "goaway includes, then the end", method: "POST", do: first(including), status: 502, reach: 1},
		{name: "reset", method: "POST", do: first(reset), status: 502, reach: 1},
		{name: "cut", method: "POST", do: first(cut), status: 502, reach: 1},
		{name: "reset", method: "GET", do: first(reset), status: 200, reach: 2},
		{name: "reset, always", method: "GET", do: always(reset), status: 502, reach: 3},
		{name: "reset", method: "HEAD", do: first(reset), status: 200, reach: 2},
		{name: "reset", method: "DELETE", do: first(reset), status: 502, reach: 1},
		{name: "cut", method: "GET", do: first(cut), status: 200, reach: 2},
	} {
		t.Run(tc.name+"/"+tc.method, func(t *testing.T) {
			var seen tally
			r := newRig(t, h2plays(t, &seen, tc.do))
			c := r.dial()
			c.send("%s /v1/x HTTP/1.1\r\nHost: x\r\nIdempotency-Key: once\r\nContent-Length: %d\r\n\r\n%s", tc.method, len(tc.name), tc.name)
			res := c.head(tc.method)
			rec := r.record()
			if res.StatusCode != tc.status || seen.of(tc.method) != tc.reach || rec.Attempts != tc.reach {
				t.Errorf("status %d, seen %d times, %d attempts recorded; want status %d, %d times",
					res.StatusCode, seen.of(tc.method), rec.Attempts, tc.status, tc.reach)
			}
			if strings.Contains(r.journal.String(), "canary") {
				t.Error("the API's words are in the log")
			}
		})
	}
}

// On HTTP/1.1 nothing says that a request was not processed.
func TestRetriesOverHTTP1(t *testing.T) {
	for _, tc := range []struct {
		name, method  string
		do            func(n int, c net.Conn, r *http.Request) bool
		status, reach int
	}{
		{"closed unanswered", "POST", func(int, net.Conn, *http.Request) bool { return false }, 502, 1},
		{"closed unanswered", "GET", func(int, net.Conn, *http.Request) bool { return false }, 502, 3},
		{"closed unanswered once", "GET", func(n int, c net.Conn, _ *http.Request) bool {
			if n == 1 {
				return false
			}
			_, _ = io.WriteString(c, fine)
			return true
		}, 200, 2},
		{"half a head", "POST", func(_ int, c net.Conn, _ *http.Request) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConte")
			return false
		}, 502, 1},
	} {
		t.Run(tc.name+"/"+tc.method, func(t *testing.T) {
			var seen tally
			r := newRig(t, h1plays(t, &seen, tc.do))
			c := r.dial()
			c.send("%s /v1/x HTTP/1.1\r\nHost: x\r\nIdempotency-Key: once\r\nContent-Length: 4\r\n\r\nbody", tc.method)
			res := c.head(tc.method)
			if res.StatusCode != tc.status || seen.of(tc.method) != tc.reach {
				t.Errorf("status %d, seen %d times; want status %d, %d times", res.StatusCode, seen.of(tc.method), tc.status, tc.reach)
			}
		})
	}
}

// A pooled connection that the API closed is found dead before a byte is
// written, and costs no attempt.
func TestADeadPooledConnectionIsNoFailure(t *testing.T) {
	var seen tally
	ended := make(chan struct{}, 1)
	r := newRig(t, h1plays(t, &seen, func(_ int, c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, fine)
		_ = c.Close() // on loopback it arrives before this returns
		ended <- struct{}{}
		return false
	}))
	for i := range 20 {
		if got, err := post(r.http1(), r.url("/v1/x"), []byte("body")); err != nil || got != "fine" {
			t.Fatalf("request %d: %q, %v", i, got, err)
		}
		r.record()
		// The API's end must have arrived; a request in the same instant would
		// be lost, which no client of HTTP/1.1 can know.
		<-ended
	}
	if got := seen.of("POST"); got != 20 {
		t.Errorf("the API saw %d requests, want 20", got)
	}
}

func TestDialFailuresAreRetried(t *testing.T) {
	for _, fails := range []int{1, 2, 3} {
		for _, size := range []int{0, 10, 400 << 10} {
			t.Run(fmt.Sprintf("%d failures, %d bytes", fails, size), func(t *testing.T) {
				var seen tally
				o := h1plays(t, &seen, func(_ int, c net.Conn, r *http.Request) bool {
					_, _ = io.WriteString(c, fine)
					return true
				})
				var dials []time.Time
				o.engine.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					dials = append(dials, time.Now())
					if len(dials) <= fails {
						return nil, errors.New("no route")
					}
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}
				r := newRig(t, o)
				res, err := r.http1().Post(r.url("/v1/x"), "text/plain", strings.NewReader(strings.Repeat("b", size)))
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				rec := r.record()
				want, attempts := 200, fails+1
				if fails == 3 {
					want, attempts = 502, 3
				}
				if res.StatusCode != want || rec.Attempts != attempts || len(dials) != attempts {
					t.Errorf("status %d after %d attempts and %d dials, want %d after %d", res.StatusCode, rec.Attempts, len(dials), want, attempts)
				}
				for i := 1; i < len(dials); i++ {
					if gap := dials[i].Sub(dials[i-1]); gap < retryPause {
						t.Errorf("dials %d and %d are %v apart, want at least %v", i, i+1, gap, retryPause)
					}
				}
			})
		}
	}
}

// The API is who its certificate says, or gets nothing (9110 4.3.4).
func TestUntrustedAPI(t *testing.T) {
	o := served(t, "tls2", func(http.ResponseWriter, *http.Request) { t.Error("the request went out") })
	o.engine.TLS = &tls.Config{} // the system's roots do not know the test's
	r := newRig(t, o)
	res, err := r.http1().Post(r.url("/v1/x"), "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if rec := r.record(); res.StatusCode != 502 || rec.Attempts != 1 || rec.ErrorType != "tls" || res.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("status %d %v, record %+v; want 502 for good, 1 attempt, error type tls", res.StatusCode, res.Header, rec)
	}
}

// A streaming body that has begun cannot be sent again, even where the API
// says that it may.
func TestAStreamingBodyIsSentOnce(t *testing.T) {
	var seen tally
	r := newRig(t, h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) {
		for {
			if _, ok := p.Next().(*http2.DataFrame); ok {
				break
			}
		}
		_ = p.WriteRSTStream(req.ID, http2.ErrCodeRefusedStream)
	}))
	res, err := r.http1().Post(r.url("/v1/x"), "text/plain", io.MultiReader(strings.NewReader("unknown length")))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 503 || seen.of("POST") != 1 || res.Header.Get("X-Should-Retry") != "true" || !strings.Contains(string(body), "was not processed") {
		t.Errorf("status %d %v %s, seen %d times; want 503 that asks to come again, once", res.StatusCode, res.Header, body, seen.of("POST"))
	}
}
