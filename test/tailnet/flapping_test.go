package tailnet

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tailscale.com/ipn"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// A tailscaled that restarts every second for a minute is a bad day, not the
// end: health follows, nothing piles up and nothing restarts on our side.
func TestFlapping(t *testing.T) {
	t.Parallel()
	const rounds = 60
	ctx, l := start(t, 2*time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	goroutines, files := footprint(t, l)
	logged := strings.Count(l.Proxy.Logs(), "\n")

	lost, found := 0, 0
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range rounds {
		l.Sidecar.Kill()
		if _, _, err := l.Proxy.AwaitHealth(within(t, ctx, slack), func(h lab.Health) bool { return !h.Connected() }); err == nil {
			lost++
		}
		if err := l.Sidecar.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Sidecar.Await(within(t, ctx, 30*time.Second), ipn.Running); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Proxy.AwaitHealth(within(t, ctx, slack), lab.Health.Connected); err == nil {
			found++
		}
		<-tick.C
	}
	if lost < rounds*9/10 || found < rounds*9/10 { // the machine may be busy now and then
		t.Errorf("of %d restarts health saw %d deaths and %d returns within %v", rounds, lost, found, slack)
	}
	awaitReachable(t, ctx, l)
	if code, _, err := l.Proxy.Admin(ctx, "/readyz"); err != nil || code != http.StatusOK {
		t.Errorf("/readyz says %d (%v) after the storm", code, err)
	}
	if lines := strings.Count(l.Proxy.Logs(), "\n") - logged; lines > 5*rounds {
		t.Errorf("%d lines in the log for %d restarts", lines, rounds)
	} else {
		t.Logf("%d lines in the log for %d restarts", lines, rounds)
	}
	for _, service := range []string{"conductor", "drain", "listener", "tailnet", "metrics"} {
		for _, reason := range []string{"panic", "error", "returned"} {
			sample := fmt.Sprintf("supervisor_restarts_total{reason=%q,service=%q}", reason, service)
			if n, _ := l.Proxy.Metric(ctx, sample); n != 0 {
				t.Errorf("%s is %v", sample, n)
			}
		}
	}
	moreGoroutines, moreFiles := footprint(t, l)
	if moreGoroutines > goroutines+5 || moreFiles > files+5 {
		t.Errorf("from %v goroutines and %d files to %v and %d", goroutines, files, moreGoroutines, moreFiles)
	}
}

func footprint(t *testing.T, l *lab.Lab) (goroutines float64, files int) {
	t.Helper()
	goroutines, ok := l.Proxy.Metric(t.Context(), "go_goroutines")
	if !ok {
		t.Fatal("no metric go_goroutines")
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.Proxy.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return goroutines, len(entries)
}
