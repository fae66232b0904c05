package clients

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// Each event is let go only when the one before it has reached the client:
// whatever is held back on the way ends the test by its deadline.
func TestEachEventArrivesBeforeTheNextIsSent(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS1, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		for name, plan := range map[string]sim.Plan{
			"lf":   {Deltas: 100},
			"crlf": {Deltas: 100, CRLF: true},
			"gzip": {Deltas: 100, Gzip: true},
		} {
			plan.Name, plan.Gated = name, true
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			res := p.post(t, ctx, plan, streamRequest)
			var r *bufio.Reader
			for i, want := range sim.Events(plan.Deltas) {
				p.api.Release(name, 1)
				if r == nil {
					r = eventReader(t, plan, res.Body)
				}
				got, err := readEvent(r)
				if err != nil || strings.ReplaceAll(got, "\r\n", "\n") != want {
					t.Fatalf("%s %s event %d: got %q, %v", protocol, name, i, got, err)
				}
			}
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("%s %s: the stream ended with %q, %v", protocol, name, rest, err)
			}
			cancel()
		}
	}
}

func eventReader(t *testing.T, plan sim.Plan, body io.Reader) *bufio.Reader {
	t.Helper()
	if !plan.Gzip {
		return bufio.NewReader(body)
	}
	zip, err := gzip.NewReader(body)
	if err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(zip)
}

// cancelBudget is how soon the API must know that a client has left.
const cancelBudget = 100 * time.Millisecond

func TestClientThatLeavesIsCancelledUpstream(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS1, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		for name, plan := range map[string]sim.Plan{
			"between events":     {Hold: true},
			"inside an event":    {Stall: true, CutAfter: 2, CutInside: true},
			"in a gzip stream":   {Hold: true, Gzip: true},
			"before the headers": {Hang: true},
		} {
			var times []time.Duration
			for range 9 {
				plan.Name = canary("")
				times = append(times, leave(t, p, plan))
			}
			slices.Sort(times)
			t.Logf("%s, %s: median %s, worst %s", protocol, name, times[len(times)/2], times[len(times)-1])
			if m := times[len(times)/2]; m > cancelBudget {
				t.Errorf("%s, %s: the API knew after %s", protocol, name, m)
			}
		}
	}
}

// leave starts a request, leaves it and returns how long the API took to know.
func leave(t *testing.T, p *pair, plan sim.Plan) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		res, err := p.send(ctx, plan, streamRequest)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		answered <- err
	}()
	rec := p.recorded(t, plan.Name)
	select {
	case err := <-answered:
		t.Fatalf("%+v ended by itself: %v", plan, err)
	case <-rec.Ended():
		t.Fatalf("%+v was cancelled before the client left", plan)
	default:
	}
	left := time.Now()
	cancel()
	await(t, "cancel", rec.Ended())
	if rec.Outcome != sim.Cancelled {
		t.Fatalf("%+v: the API's side ended as %s", plan, rec.Outcome)
	}
	if err := await(t, "answer", answered); !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v: the client saw %v", plan, err)
	}
	return rec.EndedAt.Sub(left)
}

func TestUploadThatIsAbandonedIsCancelledUpstream(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{})
	conn := dialRaw(t, p.proxy.Addr)
	if _, err := io.WriteString(conn, "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Sim: name=half\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 100_000)); err != nil {
		t.Fatal(err)
	}
	rec := p.recorded(t, "half")
	conn.Close()
	await(t, "cancel", rec.Ended())
	if rec.BodyErr == nil || rec.Outcome != sim.Cancelled {
		t.Errorf("the API read %d bytes, %v, and ended as %s", rec.BodyBytes, rec.BodyErr, rec.Outcome)
	}
}

// A client that leaves the queue is forgotten: nothing of it goes upstream.
func TestClientThatLeavesTheQueueIsForgotten(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{Proxy: "max_connections = 1"})
	first := p.post(t, t.Context(), sim.Plan{Name: "first", Gated: true}, streamRequest)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.send(ctx, sim.Plan{Name: "gone"}, streamRequest)
		done <- err
	}()
	p.awaitMetric(t, "proxy_requests_queued 1")
	cancel()
	if err := await(t, "queued client", done); !errors.Is(err, context.Canceled) {
		t.Fatalf("the queued client saw %v", err)
	}
	p.awaitMetric(t, "proxy_requests_queued 0")
	p.api.Release("first", 100)
	if _, err := io.Copy(io.Discard, first.Body); err != nil {
		t.Fatal(err)
	}
	res := p.post(t, t.Context(), sim.Plan{Name: "last"}, streamRequest)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	if n := p.api.Total(); n != 2 {
		t.Errorf("%d requests went upstream, want 2", n)
	}
}

// awaitMetric waits until a line stands in the metrics.
func (p *pair) awaitMetric(t *testing.T, line string) {
	t.Helper()
	p.poll(t, line, func() bool {
		_, text, err := p.proxy.AdminGet("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains("\n"+text, "\n"+line+"\n")
	})
}

func TestStreamOutlastsTheTimeouts(t *testing.T) {
	t.Parallel()
	const timeout = 400 * time.Millisecond
	p := start(t, sim.Options{}, harness.Options{Proxy: "timeout_secs = 0.4\nidle_timeout_secs = 0.4"})
	began := time.Now()
	res := p.post(t, t.Context(), sim.Plan{Deltas: 14, Delay: timeout / 4}, streamRequest)
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != strings.Join(sim.Events(14), "") {
		t.Errorf("after %s: %v, got %d bytes", time.Since(began), err, len(body))
	}
	if lasted := time.Since(began); lasted < 4*timeout {
		t.Errorf("the stream lasted %s: too short to prove anything", lasted)
	}
}

func TestHeadersThatDoNotCome(t *testing.T) {
	t.Parallel()
	p := start(t, sim.Options{}, harness.Options{Proxy: "timeout_secs = 0.3"})
	res := p.post(t, t.Context(), sim.Plan{Name: "late", Hang: true}, streamRequest)
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(body), `"type":"timeout_error"`) {
		t.Errorf("got %d %s, %v", res.StatusCode, body, err)
	}
	await(t, "cancel", p.recorded(t, "late").Ended())
	if n := p.api.Total(); n != 1 {
		t.Errorf("a POST that may have been processed was sent %d times", n)
	}
}

// A stream that dies after 200 is visibly broken, wherever it stands, and
// nothing is added to it. It never just ends.
func TestStreamThatDies(t *testing.T) {
	t.Parallel()
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{Proxy: "idle_timeout_secs = 0.5"})
		for name, plan := range map[string]sim.Plan{
			"cut between events":      {CutAfter: 4},
			"cut between crlf events": {CutAfter: 4, CRLF: true},
			"cut inside an event":     {CutAfter: 4, CutInside: true},
			"cut in gzip":             {CutAfter: 4, Gzip: true},
			"idle between events":     {CutAfter: 4, Stall: true},
			"idle inside an event":    {CutAfter: 4, CutInside: true, Stall: true},
			"idle in gzip":            {CutAfter: 4, Gzip: true, Stall: true},
		} {
			plan.Name = name
			res := p.post(t, t.Context(), plan, streamRequest)
			if body, err := io.ReadAll(res.Body); err == nil || strings.Contains(string(body), "event: error") {
				t.Errorf("%s %s: %v, half an answer ended with %q", protocol, name, err, body)
			}
		}
	}
}
