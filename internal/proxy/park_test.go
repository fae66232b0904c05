package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/internal/upstream"
)

// onStage is an API whose streams say what the test has them say.
type onStage struct {
	*rig
	lines chan stageLine
}

// stageLine is one stream's script: it sends what comes from say, until that is
// closed or an error ends it; left is closed when the API has lost its client.
type stageLine struct {
	say  chan string
	left <-chan struct{}
}

func newStage(t *testing.T, o func(*options)) *onStage {
	t.Helper()
	s := &onStage{lines: make(chan stageLine, 256)}
	opts := served(t, "tls2", func(w http.ResponseWriter, r *http.Request) {
		l := stageLine{make(chan string), r.Context().Done()}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		s.lines <- l
		for {
			select {
			case text, more := <-l.say:
				if !more {
					return
				}
				if text == "RESET" {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
			case <-l.left:
				return
			}
		}
	})
	if o != nil {
		o(&opts)
	}
	s.rig = newRig(t, opts)
	if _, own := s.handler.Upstream.(*upstream.Pool); !own {
		t.Skip("only the product's engine parks")
	}
	return s
}

const firstWord = "data: first\n\n"

// open opens a stream and reads its first event.
func (s *onStage) open() (*client, *http.Response, stageLine) {
	s.t.Helper()
	c := s.dial()
	c.send("POST /v1/messages HTTP/1.1\r\nHost: ai\r\nContent-Length: 2\r\n\r\n{}")
	l := <-s.lines
	l.say <- firstWord
	res := c.head("POST")
	expect(s.t, res.Body, firstWord)
	return c, res, l
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// parked waits until no exchange has a goroutine.
func (s *onStage) parked() {
	s.t.Helper()
	testkit.Eventually(s.t, "no exchange has a goroutine", func() bool { return !testkit.Stands("(*exchange).") })
}

// A stream that waits has no goroutine, and loses nothing by it: what comes is
// passed on, the end is the end, and the connection carries the next request.
func TestAWaitingStreamHasNoGoroutine(t *testing.T) {
	s := newStage(t, nil)
	type stream struct {
		c   *client
		res *http.Response
		l   stageLine
	}
	var all []stream
	for range 50 {
		c, res, l := s.open()
		all = append(all, stream{c, res, l})
	}
	s.parked()
	for round := range 5 {
		for _, st := range all {
			st.l.say <- fmt.Sprintf("data: %d\n\n", round)
		}
		for _, st := range all {
			expect(t, st.res.Body, fmt.Sprintf("data: %d\n\n", round))
		}
		s.parked()
	}
	for _, st := range all {
		close(st.l.say)
		if rest, err := io.ReadAll(st.res.Body); err != nil || len(rest) > 0 {
			t.Fatalf("the end came as %q, %v", rest, err)
		}
		if rec := s.record(); rec.Outcome != "completed" || rec.Path != "/v1/messages" || rec.Method != "POST" {
			t.Errorf("record %+v", rec)
		}
		st.c.send("GET /health HTTP/1.1\r\nHost: ai\r\n\r\n")
		if _, body := st.c.answer("GET"); body != "local" {
			t.Errorf("the connection's next answer is %q", body)
		}
	}
}

// Whatever ends a stream ends one that is parked, too, and is told as ever.
func TestHowParkedStreamsEnd(t *testing.T) {
	for _, tc := range []struct {
		outcome string
		end     func(*onStage, *client, stageLine)
	}{
		{"idle_timeout", func(*onStage, *client, stageLine) {}},
		{"client_gone", func(_ *onStage, c *client, _ stageLine) { _ = c.Close() }},
		{"client_gone", func(_ *onStage, c *client, _ stageLine) { _ = c.Conn.(*net.TCPConn).CloseWrite() }},
		{"upstream_cut", func(_ *onStage, _ *client, l stageLine) { l.say <- "RESET" }},
		{"upstream_cut", func(s *onStage, _ *client, _ stageLine) { s.pool.Close() }},
		{"drained", func(s *onStage, _ *client, _ stageLine) { s.handler.Gate.Close(); s.handler.Gate.End(ErrDrained) }},
		{"client_gone", func(s *onStage, _ *client, _ stageLine) { s.server.Close() }},
	} {
		t.Run(tc.outcome, func(t *testing.T) {
			s := newStage(t, func(o *options) {
				if tc.outcome == "idle_timeout" {
					o.limits.IdleTimeout = 100 * time.Millisecond
				}
			})
			c, res, l := s.open()
			s.parked()
			tc.end(s, c, l)
			if tc.outcome != "upstream_cut" {
				<-l.left
			}
			if rest, err := io.ReadAll(res.Body); err == nil || len(rest) > 0 {
				t.Errorf("the client got %q, %v; want a broken answer", rest, err)
			}
			if rec := s.record(); rec.Outcome != tc.outcome || rec.In != "stream" || rec.Status != 200 && tc.outcome != "client_gone" {
				t.Errorf("record %+v", rec)
			}
			<-s.idle()
		})
	}
}

func (s *onStage) idle() <-chan struct{} {
	s.handler.Gate.Close()
	return s.handler.Gate.Idle()
}

// Parked or not, whatever the pace of either side, the client gets the API's
// bytes and nothing else.
func TestParkedStreamsLoseNothing(t *testing.T) {
	s := newStage(t, nil)
	var all sync.WaitGroup
	for i := range 24 {
		rnd := rand.New(rand.NewPCG(11, uint64(i)))
		c, res, l := s.open()
		if i%3 == 0 {
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		var want strings.Builder
		sent := make([]string, 60)
		for n := range sent {
			size := 1 + rnd.IntN(300)
			if rnd.IntN(6) == 0 {
				size = 1 << (6 + rnd.IntN(13))
			}
			sent[n] = strings.Repeat(string(rune('a'+rnd.IntN(26))), size)
			want.WriteString(sent[n])
		}
		all.Go(func() {
			for _, text := range sent {
				l.say <- text
				if rnd.IntN(4) == 0 {
					pauseBriefly()
				}
			}
			close(l.say)
		})
		all.Go(func() {
			slow := io.Reader(res.Body)
			if i%3 == 0 {
				slow = reluctant{res.Body}
			}
			if got, err := io.ReadAll(slow); err != nil || string(got) != want.String() {
				t.Errorf("stream %d: %d bytes, %v; want %d", i, len(got), err, want.Len())
			}
		})
	}
	all.Wait()
	for range 24 {
		if rec := s.record(); rec.Outcome != "completed" {
			t.Errorf("record %+v", rec)
		}
	}
}

// reluctant reads little, late.
type reluctant struct{ r io.Reader }

func (r reluctant) Read(p []byte) (int, error) {
	pauseBriefly()
	return r.r.Read(p[:min(len(p), 16<<10)])
}

// An answer that stands still because its client does not take it is the
// client's fault, also when the clock over the API's silence runs out first.
func TestWhoseFaultItIsThatAnAnswerStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &deaf{}
		c.ctx, c.end = context.WithCancelCause(t.Context())
		a := &answer{client: c, live: newLive("POST", "/", nil), dog: watchdog{clock: newClock()}, idle: time.Minute,
			res: asked{Response: &upstream.Response{Status: 200, ContentLength: -1}}}
		if end := a.relay(false); end.cause != clientUnread {
			t.Errorf("it ended by %v", end.cause)
		}
	})
}

// deaf is a client that takes nothing, until its exchange ends.
type deaf struct {
	edge.Client
	ctx context.Context
	end context.CancelCauseFunc
}

func (d *deaf) End(cause error)                  { d.end(cause) }
func (d *deaf) Context() context.Context         { return d.ctx }
func (d *deaf) AtEnd(func())                     {}
func (d *deaf) Respond(edge.Head)                {}
func (d *deaf) SetWriteDeadline(time.Time) error { return nil }
func (d *deaf) Flush() error                     { <-d.ctx.Done(); return edge.ErrClosed }

// A bug that the API's reader meets ends its exchange, and nothing else.
func TestABugInNewsEndsItsExchange(t *testing.T) {
	s := newStage(t, nil)
	c := &cracked{resumed: make(chan bool, 1)}
	x := s.handler.newExchange(c, "/v1/messages")
	x.live.enter(InStream)
	x.res = asked{Response: &upstream.Response{Body: said{}}}
	x.News()
	if over := <-c.resumed; !over || !c.aborted {
		t.Errorf("over %v, aborted %v", over, c.aborted)
	}
	if rec := s.record(); rec.Cause != "bug" {
		t.Errorf("record %+v", rec)
	}
}

// cracked is a client whose TryWrite panics.
type cracked struct {
	edge.Parkable
	resumed chan bool
	aborted bool
}

func (c *cracked) Request() *edge.Request   { return &edge.Request{Method: "POST"} }
func (c *cracked) Peer() string             { return "127.0.0.1:1" }
func (c *cracked) Context() context.Context { return context.Background() }
func (c *cracked) End(error)                {}
func (c *cracked) Abort()                   { c.aborted = true }
func (c *cracked) TryWrite([]byte) (int, bool) {
	panic("canary")
}
func (c *cracked) Resume(goOn func() bool) { c.resumed <- goOn() }

// said is a body with a word to say.
type said struct{ upstream.Standing }

func (said) TryRead(p []byte) int { return copy(p, "x") }
func (said) Close() error         { return nil }
