package clients

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// A process that stood still says so itself and loses nothing: no readiness, no
// stream, no phase.
func TestAFrozenProcess(t *testing.T) {
	const frozen = 4 * time.Second // above every patience of a look at our own port
	p := start(t, sim.Options{}, harness.Options{})
	stream := p.openStreams(t, 1, sim.Plan{Gated: true})[0]
	p.proxy.Signal(syscall.SIGSTOP)
	<-time.After(frozen) // there is nothing to ask
	p.proxy.Signal(syscall.SIGCONT)
	p.poll(t, "the stall is told", func() bool { return strings.Contains(p.proxy.Logs(), `"event":"process_stalled"`) })
	for range 20 {
		if code, body, err := p.proxy.AdminGet("/readyz"); code != http.StatusOK || err != nil {
			t.Fatalf("/readyz after the stall: %d %s %v", code, body, err)
		}
	}
	if _, body, err := p.proxy.AdminGet("/health"); err != nil || !strings.Contains(body, `"status":"healthy"`) || !strings.Contains(body, `"stalled_ms":`) {
		t.Errorf("health says %s, %v", body, err)
	}
	if _, body, err := p.proxy.AdminGet("/metrics"); err != nil || strings.Contains(body, "\nprocess_stalls_total 0\n") {
		t.Errorf("the stall is not counted: %v", err)
	}
	p.api.Release("stream-0", 100)
	if rest, err := io.ReadAll(stream); err != nil || string(rest) != strings.Join(sim.Events(3)[1:], "") {
		t.Errorf("the stream: %v, got %q", err, rest)
	}
	if strings.Contains(p.proxy.Logs(), `"to":"degraded"`) {
		t.Error("the service was degraded by a stall of its own")
	}
}
