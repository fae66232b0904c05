//go:build cluster

package cluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// highAvailability shows the pods' side of the component ha. That callers are
// spread over the pods is the coordination server's work, and testcontrol does
// not do it: nothing here speaks to svc:anthropic-oauth-proxy.
func (d *deployment) highAvailability(t *testing.T) {
	d.forgetIdentity() // testcontrol names a node once, at its registration
	d.volume()
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

// pods reads every pod of the namespace, by name.
func (d *deployment) pods() []core.Pod {
	d.t.Helper()
	var list core.PodList
	if err := json.Unmarshal([]byte(d.run("get", "pods", "-o", "json", "--sort-by=.metadata.name")), &list); err != nil {
		d.t.Fatalf("read pods: %v", err)
	}
	return list.Items
}
