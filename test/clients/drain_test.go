package clients

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// openStreams starts n streams and reads one event of each, so that they are
// known to run.
func (p *pair) openStreams(t *testing.T, n int, plan sim.Plan) []*bufio.Reader {
	t.Helper()
	readers := make([]*bufio.Reader, n)
	for i := range readers {
		plan.Name = fmt.Sprintf("stream-%d", i)
		p.api.Release(plan.Name, 1)
		res := p.post(t, t.Context(), plan, streamRequest)
		readers[i] = bufio.NewReader(res.Body)
		if got, err := readEvent(readers[i]); got != sim.Events(3)[0] {
			t.Fatalf("first event of stream %d: %q, %v", i, got, err)
		}
	}
	return readers
}

// drain sends SIGTERM and waits until the service says that it drains.
func (p *pair) drain(t *testing.T) {
	t.Helper()
	p.proxy.Signal(syscall.SIGTERM)
	p.poll(t, "health says draining", func() bool {
		status, body, err := p.proxy.AdminGet("/health")
		if err != nil {
			t.Fatalf("the admin server left before the streams: %v", err)
		}
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"status":"draining"`)
	})
}

// exit waits for the process and checks that it ended cleanly.
func (p *pair) exit(t *testing.T) {
	t.Helper()
	await(t, "exit", p.proxy.Exited())
	if code := p.proxy.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDrainLetsStreamsFinish(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 60"})
	streams := p.openStreams(t, 5, sim.Plan{Gated: true})
	p.drain(t)
	if status, _, _ := p.proxy.AdminGet("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d", status)
	}
	if status, _, _ := p.proxy.AdminGet("/livez"); status != http.StatusOK {
		t.Errorf("/livez says %d", status)
	}
	before := p.api.Total()
	// The door is closed: a refused connection is what every client takes well.
	p.poll(t, "the door is closed", func() bool {
		c, err := net.Dial("tcp", p.proxy.Addr)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if n := p.api.Total() - before; n != 0 {
		t.Errorf("%d requests reached the API from outside the door", n)
	}
	for i, r := range streams {
		p.api.Release(fmt.Sprintf("stream-%d", i), 100)
		rest, err := io.ReadAll(r)
		if err != nil || string(rest) != strings.Join(sim.Events(3)[1:], "") {
			t.Errorf("stream %d: %v, got %q", i, err, rest)
		}
	}
	p.exit(t)
}

func TestDrainDeadlineEndsStreams(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 0.5"})
	streams := p.openStreams(t, 5, sim.Plan{Gated: true})
	broken := p.post(t, t.Context(), sim.Plan{Name: "gzip", Gzip: true, Stall: true, CutAfter: 2}, streamRequest)
	p.proxy.Signal(syscall.SIGTERM)
	for i, r := range streams {
		checkBroken(t, i, r)
	}
	if _, err := io.ReadAll(broken.Body); err == nil {
		t.Error("half a gzip stream ended cleanly")
	}
	p.exit(t)
	for i := range streams {
		rec := p.recorded(t, fmt.Sprintf("stream-%d", i))
		await(t, "cancel", rec.Ended())
		if rec.Outcome != sim.Cancelled {
			t.Errorf("stream %d ended as %s upstream", i, rec.Outcome)
		}
	}
}

// checkBroken reads what must be a broken stream to which nothing was added.
func checkBroken(t *testing.T, i int, r *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(r); err == nil || len(rest) > 0 {
		t.Errorf("stream %d: %v, ended with %q; want it broken", i, err, rest)
	}
}

// Wrappers send SIGTERM twice: another one changes nothing. A person at a
// terminal who insists is heard.
func TestSignalsDuringADrain(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 3600"})
	streams := p.openStreams(t, 3, sim.Plan{Gated: true})
	p.proxy.Signal(syscall.SIGHUP)
	p.proxy.Signal(syscall.SIGPIPE)
	p.drain(t)
	for range 3 {
		p.proxy.Signal(syscall.SIGTERM)
	}
	p.api.Release("stream-0", 100)
	if rest, err := io.ReadAll(streams[0]); err != nil || string(rest) != strings.Join(sim.Events(3)[1:], "") {
		t.Errorf("a stream after four SIGTERMs: %v, got %q", err, rest)
	}
	p.proxy.Signal(syscall.SIGINT)
	for i, r := range streams[1:] {
		checkBroken(t, i+1, r)
	}
	p.exit(t)
	for _, line := range []string{`"signal":"hangup"`, `"signal":"broken pipe"`} {
		if n := strings.Count(p.proxy.Logs(), line); n != 1 {
			t.Errorf("%d lines with %s, want one", n, line)
		}
	}
}

func TestIdleServiceStopsAtOnce(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 3600"})
		res := p.post(t, t.Context(), sim.Plan{}, streamRequest)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		p.proxy.Signal(sig)
		p.exit(t)
	}
}
