//go:build cluster

package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/sim"
)

// many is how many conversations a replacement of the pod must not break.
const many = 50

func (d *deployment) rolloutRestart(t *testing.T) {
	d.replace(t, "restart", func() { d.run("rollout", "restart", "statefulset/anthropic-oauth-proxy") })
}

func (d *deployment) deletePod(t *testing.T) {
	d.replace(t, "delete", func() { d.run("delete", "pod", podName, "--wait=false") })
}

// replace ends the pod while many streams are under way, lets them go on for a
// while, and then holds: every stream is whole; the sidecar was told to stop
// only after the proxy had exited; the successor serves under the same name.
func (d *deployment) replace(t *testing.T, name string, end func()) {
	old := d.pod()
	streams := d.tailnet.open(t, name, many)
	d.tailnet.release(streams, 2)
	proxyLog, sidecarLog := d.follow("proxy"), d.follow("tailscale")
	began := time.Now()
	end()
	d.await(30*time.Second, "the proxy drains", func() bool {
		code, _ := d.admin("/readyz")
		return code == 503
	})
	if code, _ := d.admin("/livez"); code != 200 {
		t.Errorf("liveness is %d in the drain: kubelet would cut it short", code)
	}
	// A door that is shut says so: a client that waits at it does not come back.
	knock, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	knocked := time.Now()
	_, err := d.tailnet.call(knock, sim.Plan{})
	cancel()
	switch {
	case err == nil, strings.Contains(err.Error(), "status ") && !strings.Contains(err.Error(), "status 503"):
		t.Errorf("a new request in the drain gets %v, want a closed door or status 503", err)
	case errors.Is(err, context.DeadlineExceeded):
		t.Errorf("a new request in the drain gets no answer in %v: %v", time.Since(knocked), err)
	}
	t.Logf("a new request in the drain, after %v: %v", time.Since(knocked).Round(time.Millisecond), err)
	if pod := d.pod(); pod == nil || pod.UID != old.UID {
		t.Fatal("a successor appeared while the old pod still held the node's identity")
	}
	// The conversations go on while the proxy drains.
	for range 4 {
		d.tailnet.release(streams, 1)
		time.Sleep(500 * time.Millisecond)
	}
	if code, _ := d.admin("/livez"); code != 200 {
		t.Errorf("liveness is %d two seconds into the drain", code)
	}
	whole := d.tailnet.finish(t, streams)
	if whole != many {
		t.Errorf("%d of %d streams ended whole", whole, many)
	}
	d.stopOrder(t, began, <-proxyLog, <-sidecarLog)
	pod := d.awaitReady(2*time.Minute, string(old.UID))
	took := d.await(time.Minute, "the successor serves by the same name", func() bool {
		body, err := d.tailnet.call(t.Context(), sim.Plan{Deltas: deltas, Stream: true})
		return err == nil && body == complete
	})
	if restarts := status(pod, "proxy").RestartCount; restarts != 0 {
		t.Errorf("the successor's proxy was restarted %d times", restarts)
	}
	t.Logf("%d of %d streams ended whole; replaced in %v, reached by name %v later", whole, many, time.Since(began).Round(time.Millisecond), took.Round(time.Millisecond))
}

// stopOrder compares the last words of the two containers.
func (d *deployment) stopOrder(t *testing.T, began time.Time, proxy, sidecar []logLine) {
	t.Helper()
	if len(proxy) == 0 {
		t.Fatal("the proxy said nothing")
	}
	last := proxy[len(proxy)-1]
	for _, line := range sidecar {
		if strings.Contains(line.text, "Sending SIGTERM to tailscaled") {
			t.Logf("%v after the request to end: the proxy's last line: %s", last.at.Sub(began).Round(time.Millisecond), last.text)
			t.Logf("%v after it: %s", line.at.Sub(last.at).Round(time.Millisecond), line.text)
			if line.at.Before(last.at) {
				t.Error("the sidecar was stopped before the proxy had exited")
			}
			return
		}
	}
	t.Errorf("the sidecar does not say when it was told to stop: %v", sidecar)
}

// drainSeconds replaces the 100 s of the base where a test wants to see the end.
const drainSeconds = "5"

func (d *deployment) configChange(t *testing.T) {
	old := d.pod()
	d.overlay.change = func(text string) string {
		return strings.Replace(text, "drain_timeout_secs = 100", "drain_timeout_secs = "+drainSeconds, 1)
	}
	d.apply(t)
	pod := d.awaitReady(2*time.Minute, string(old.UID))
	before, after := configName(old.Spec.Volumes), configName(pod.Spec.Volumes)
	t.Logf("the pod rolled from %s to %s", before, after)
	if before == after {
		t.Errorf("the new pod still mounts %s", after)
	}
}

func (d *deployment) drainDeadline(t *testing.T) {
	old := d.pod()
	d.await(time.Minute, "the caller reaches the proxy", func() bool {
		_, err := d.tailnet.call(t.Context(), sim.Plan{})
		return err == nil
	})
	streams := d.tailnet.open(t, "late", 3)
	d.tailnet.release(streams, 4)
	began := time.Now()
	d.run("delete", "pod", podName, "--wait=false")
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { <-s.done })
	}
	wg.Wait()
	t.Logf("the streams ended %v after the delete", time.Since(began).Round(time.Millisecond))
	for _, s := range streams {
		sent := strings.Join(sim.Events(deltas)[:4], "")
		if s.body != sent {
			t.Errorf("%s: what was sent before the deadline, and nothing else, should arrive: %q", s.name, s.body)
		}
		if s.err == nil {
			t.Errorf("%s: the stream ends as if it were whole: its client would not ask again", s.name)
		}
		d.tailnet.release([]*stream{s}, deltas) // the API's side may end, too
	}
	t.Logf("a client sees: %v", streams[0].err)
	d.awaitReady(2*time.Minute, string(old.UID))
}
