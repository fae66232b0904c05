package tailnet

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/sim"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

// A stream is an answer that the caller reads through the tailnet while the
// test decides when the API sends each event.
type stream struct {
	l      *lab.Lab
	name   string
	events []string
	body   *http.Response
	got    chan string // closed when the answer ends
	err    error       // why it ended; read after got is closed
}

func open(t *testing.T, ctx context.Context, l *lab.Lab, base string, plan sim.Plan) *stream {
	t.Helper()
	plan.Gated = true
	s := &stream{l: l, name: plan.Name, events: sim.Events(plan.Deltas), got: make(chan string, 100)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/messages", strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(sim.PlanHeader, plan.Encode())
	if s.body, err = l.Caller.HTTP.Do(req); err != nil {
		t.Fatalf("open stream: %v", err)
	}
	t.Cleanup(func() { s.body.Body.Close() })
	if s.body.StatusCode != http.StatusOK {
		t.Fatalf("open stream: status %d", s.body.StatusCode)
	}
	go s.read()
	return s
}

func (s *stream) read() {
	defer close(s.got)
	lines := bufio.NewReader(s.body.Body)
	var event strings.Builder
	for {
		line, err := lines.ReadString('\n')
		event.WriteString(line)
		if err != nil {
			s.err = err
			return
		}
		if line == "\n" {
			s.got <- event.String()
			event.Reset()
		}
	}
}

func (s *stream) release(n int) { s.l.API.Release(s.name, n) }

// expect wants event number i next.
func (s *stream) expect(t *testing.T, i int) {
	t.Helper()
	select {
	case got, ok := <-s.got:
		if !ok || got != s.events[i] {
			t.Fatalf("event %d is %q (stream open %v, %v), want %q", i, got, ok, s.err, s.events[i])
		}
	case <-time.After(40 * time.Second):
		t.Fatalf("event %d did not arrive", i)
	}
}

// end wants a clean end next.
func (s *stream) end(t *testing.T) {
	t.Helper()
	select {
	case got, ok := <-s.got:
		if ok {
			t.Fatalf("unexpected event %q", got)
		}
		if s.err.Error() != "EOF" {
			t.Fatalf("the stream ended with %v", s.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the stream did not end")
	}
}

// None of these may cost a running stream an event.
func TestStreamsOutliveFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		length time.Duration
		inject func(context.Context, *lab.Lab) error
		heal   func(context.Context, *lab.Lab) (time.Time, error)
	}{
		{"control cut", 3 * time.Second, cutControl, openControl},
		{"relay gone, direct path up", 3 * time.Second, cutRelay, openRelay},
		{"down for 20 s, then up", 20 * time.Second, want(false), wantUp},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, l := start(t, 100*time.Second, lab.Options{})
			awaitReachable(t, ctx, l)
			s := open(t, ctx, l, l.URL(""), sim.Plan{Name: "outlives", Deltas: 20})
			s.release(2)
			s.expect(t, 0)
			s.expect(t, 1)

			if err := tc.inject(ctx, l); err != nil {
				t.Fatalf("inject: %v", err)
			}
			half := len(s.events) / 2
			for range half - 2 { // the API goes on, whatever the tailnet does
				s.release(1)
				time.Sleep(tc.length / time.Duration(half-2))
			}
			if _, err := tc.heal(ctx, l); err != nil {
				t.Fatalf("heal: %v", err)
			}
			s.release(len(s.events) - half)
			for i := 2; i < len(s.events); i++ {
				s.expect(t, i)
			}
			s.end(t)
			wantMetric(t, ctx, l, `proxy_outcomes_total{outcome="completed"}`, 1)
		})
	}
}

// A tailscaled that dies ends our side at once; nobody pays for tokens that
// nobody reads.
func TestStreamEndsWithTailscaled(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	s := open(t, ctx, l, l.URL(""), sim.Plan{Name: "killed", Deltas: 20})
	s.release(1)
	s.expect(t, 0)
	killed := time.Now()
	l.Sidecar.Signal(syscall.SIGKILL)
	rec, err := l.API.Wait(ctx, "killed")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-rec.Ended():
	case <-time.After(5 * time.Second):
		t.Fatal("upstream was not cancelled")
	}
	if took := time.Since(killed); rec.Outcome != sim.Cancelled || took > time.Second {
		t.Errorf("upstream ended %q after %v, want cancelled within 1 s", rec.Outcome, took)
	}
	await(t, within(t, ctx, 5*time.Second), "the outcome in the metrics", func() bool {
		v, _ := l.Proxy.Metric(ctx, `proxy_outcomes_total{outcome="client_gone"}`)
		return v == 1
	})
	wantMetric(t, ctx, l, "proxy_requests_in_flight", 0)
}

// A logout tells neither side of a stream anything. The idle limit ends it.
func TestSilentDeathEndsByTheIdleLimit(t *testing.T) {
	t.Parallel()
	const idle = 3 * time.Second
	ctx, l := start(t, time.Minute, lab.Options{Proxy: lab.ProxyOptions{Proxy: "idle_timeout_secs = 3"}})
	awaitReachable(t, ctx, l)
	// The API sends on and on, and the caller reads on and on: what fills up
	// after its death is the way to it.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL("/v1/messages"), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(sim.PlanHeader, sim.Plan{Name: "silent", Deltas: 400_000, Stream: true}.Encode())
	res, err := l.Caller.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer res.Body.Close()
	reader.Go(func() { _, _ = io.Copy(io.Discard, res.Body) }) // it never ends well
	if err := l.Sidecar.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	rec, err := l.API.Wait(ctx, "silent")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-rec.Ended():
	case <-time.After(idle + 15*time.Second):
		t.Fatalf("upstream still runs %v after the caller died", time.Since(died))
	}
	t.Logf("ended %v after the caller died, with an idle limit of %v", time.Since(died).Round(time.Millisecond), idle)
	if rec.Outcome != sim.Cancelled {
		t.Errorf("upstream ended %q, want cancelled", rec.Outcome)
	}
	await(t, within(t, ctx, 10*time.Second), "the stream's end", func() bool {
		v, ok := l.Proxy.Metric(ctx, "proxy_requests_in_flight")
		return ok && v == 0
	})
	if v, _ := l.Proxy.Metric(ctx, `proxy_outcomes_total{outcome="completed"}`); v != 0 {
		t.Errorf("%v streams counted as completed", v)
	}
}
