//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"anthropic-oauth-proxy/test/sim"
)

// highAvailability shows the pods' side of the component ha. That callers are
// spread over the pods is the coordination server's work, and testcontrol does
// not do it: nothing here speaks to svc:anthropic-oauth-proxy.
func (d *deployment) highAvailability(t *testing.T) {
	d.forgetIdentity() // testcontrol names a node once, at its registration
	d.volume(defaultClass)
	d.overlay.components = []string{"ha"}
	d.apply(t)
	d.await(3*time.Minute, "both pods are Ready", func() bool {
		pods := d.pods()
		return len(pods) == 2 && isReady(&pods[0]) && isReady(&pods[1])
	})
	for _, pod := range d.pods() {
		var health struct {
			Hostname string `json:"tailnet_hostname"`
		}
		body := d.run("get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod.Name+":9090/proxy/health")
		if err := json.Unmarshal([]byte(body), &health); err != nil || health.Hostname != pod.Name {
			t.Errorf("the node of %s is named %q (%v)", pod.Name, health.Hostname, err)
		}
		d.await(time.Minute, "the pod advertises the Service", func() bool {
			prefs := d.run("exec", pod.Name, "-c", "tailscale", "--", "tailscale", "--socket=/run/tailscaled/tailscaled.sock", "debug", "prefs")
			return strings.Contains(prefs, "svc:anthropic-oauth-proxy")
		})
	}
	for _, pod := range d.pods() {
		if strings.Contains(d.run("logs", pod.Name, "-c", "proxy"), "tailnet_hostname_differs") {
			t.Errorf("%s warns of its name, which is right", pod.Name)
		}
	}
	if code, said := d.script("preflight", "-k", d.overlay.dir); code != 0 || !strings.Contains(said, "claim ts-state-anthropic-oauth-proxy-1") {
		t.Errorf("preflight exits %d and does not know the second pod:\n%s", code, said)
	}
	if code, said := d.script("verify", "-u", "http://anthropic-oauth-proxy-0:8080", "-t", "60"); code != 0 || !strings.Contains(said, "anthropic-oauth-proxy-1: healthy") {
		t.Errorf("verify exits %d and does not know the second pod:\n%s", code, said)
	}
	d.volume(defaultClass) // for the pod that is given a new identity
	d.runbook(t, `run: phase "several pods behind one Service name"`, "k8s/overlays/high-availability", d.overlay.write(t), "k8s/verify", "k8s/verify -u http://anthropic-oauth-proxy-1:8080")
	d.await(3*time.Minute, "both pods are Ready", func() bool {
		pods := d.pods()
		return len(pods) == 2 && isReady(&pods[0]) && isReady(&pods[1])
	})
	for _, fault := range []struct {
		name string
		run  func()
	}{
		{"a rollout", func() { d.run("rollout", "restart", set); d.run("rollout", "status", set, "--timeout=180s") }},
		{"a killed pod", func() { d.run("delete", "pod", podName, "--grace-period=0", "--force") }},
		{"a node's drain", func() {
			node := d.pod().Spec.NodeName
			out, err := d.try("", "drain", node, "--pod-selector=app.kubernetes.io/name=anthropic-oauth-proxy", "--delete-emptydir-data", "--timeout=30s")
			d.run("uncordon", node)
			if err == nil {
				t.Errorf("both pods were evicted at once: the budget holds nothing back\n%s", out)
			}
		}},
	} {
		d.underStreams(t, fault.name, fault.run)
	}
	// The hook withdraws the Service when the deletion begins; kubelet would
	// report one that fails. The other pod stays.
	d.run("delete", "pod", podName, "--wait=false")
	d.await(time.Minute, "the first pod drains", func() bool { code, _ := d.admin("/readyz"); return code == 503 })
	for _, pod := range d.pods() {
		if pod.Name != podName && !isReady(&pod) {
			t.Errorf("%s is not Ready while %s drains", pod.Name, podName)
		}
	}
	d.await(3*time.Minute, "both pods are Ready again", func() bool {
		pods := d.pods()
		return len(pods) == 2 && isReady(&pods[0]) && isReady(&pods[1]) && pods[0].DeletionTimestamp == nil
	})
	if events := d.run("get", "events", "--field-selector=reason=FailedPreStopHook", "-o", "name"); strings.TrimSpace(events) != "" {
		t.Errorf("a preStop hook failed:\n%s", d.run("get", "events", "--field-selector=reason=FailedPreStopHook"))
	}
}

// underStreams keeps fifty conversations going while something happens to the
// pods. Each client retries as the SDKs do, at whichever pod it reaches, and no
// conversation may be lost.
func (d *deployment) underStreams(t *testing.T, name string, fault func()) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var turns, retried, lost atomic.Int64
	for i := range many {
		wg.Go(func() {
			for ctx.Err() == nil {
				attempts := d.turn(t.Context(), i)
				turns.Add(1)
				retried.Add(int64(max(attempts-1, 0)))
				if attempts == 0 {
					lost.Add(1)
				}
			}
		})
	}
	fault()
	d.await(3*time.Minute, "both pods are Ready after "+name, func() bool {
		pods := d.pods()
		return len(pods) == 2 && isReady(&pods[0]) && isReady(&pods[1]) && pods[0].DeletionTimestamp == nil && pods[1].DeletionTimestamp == nil
	})
	stop()
	wg.Wait()
	t.Logf("%s: %d conversations, %d retries, %d lost", name, turns.Load(), retried.Load(), lost.Load())
	if lost.Load() > 0 {
		t.Errorf("%s: %d of %d conversations were lost", name, lost.Load(), turns.Load())
	}
}

// turn has one conversation and returns at which attempt it was whole; 0 when
// at none of ten. A Tailscale Service would send a client to a pod that
// advertises; here it tries the one and then the other.
func (d *deployment) turn(ctx context.Context, client int) int {
	for attempt := 1; attempt <= 10; attempt++ {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		body, err := d.tailnet.callAt(limited, fmt.Sprintf("anthropic-oauth-proxy-%d", (client+attempt)%2), sim.Plan{Deltas: deltas, Delay: 300 * time.Millisecond, Stream: true})
		cancel()
		if err == nil && body == complete {
			return attempt
		}
		time.Sleep(time.Second)
	}
	return 0
}

// pods reads every pod of the namespace, by name.
func (d *deployment) pods() []core.Pod {
	d.t.Helper()
	var list core.PodList
	if err := json.Unmarshal([]byte(d.run("get", "pods", "-o", "json", "--sort-by=.metadata.name")), &list); err != nil {
		d.t.Fatalf("read pods: %v", err)
	}
	return list.Items
}
