//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"anthropic-oauth-proxy/test/sim"
)

// secondNamespace and secondName are what examples/second-install says.
const (
	secondNamespace = "claude-staging"
	secondName      = "claude-staging"
)

// monitoringTypes are the kinds of the Prometheus operator, without its schema:
// the tests without a cluster hold the objects to that.
const monitoringTypes = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: podmonitors.monitoring.coreos.com
  labels: {proxy-cluster-test: ""}
spec:
  group: monitoring.coreos.com
  names: {kind: PodMonitor, plural: podmonitors, singular: podmonitor}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: prometheusrules.monitoring.coreos.com
  labels: {proxy-cluster-test: ""}
spec:
  group: monitoring.coreos.com
  names: {kind: PrometheusRule, plural: prometheusrules, singular: prometheusrule}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// secondInstall applies examples/second-install beside the first install, as it
// is but for the images and the way to the test's tailnet. Both serve, each by
// its own name, and the scripts look at the one that they are pointed at.
func (d *deployment) secondInstall(t *testing.T) {
	example, err := os.ReadFile(repository + "/examples/second-install/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"namespace: " + secondNamespace, "value: " + secondName} {
		if !strings.Contains(string(example), says) {
			t.Fatalf("examples/second-install does not say %q", says)
		}
	}
	first := d.pod()
	second := overlay{dir: t.TempDir(), tailnet: d.tailnet, change: d.overlay.change, resource: "examples/second-install", namespace: secondNamespace}
	dir := second.write(t)
	d.run("create", "namespace", secondNamespace)
	d.run("label", "namespace", secondNamespace, "pod-security.kubernetes.io/enforce=restricted")
	d.run("-n", secondNamespace, "create", "secret", "generic", "tailscale-auth", "--from-literal=TS_AUTHKEY="+authKey)
	d.volume(namedClass)
	if code, said := d.script("preflight", "-k", dir); code != 0 || !strings.Contains(said, "namespace "+secondNamespace+" enforces") {
		t.Fatalf("preflight -k examples/second-install exits %d:\n%s", code, said)
	}
	d.run("-n", secondNamespace, "apply", "-k", dir)
	d.await(2*time.Minute, "the second install's pod is Ready", func() bool {
		pod := &core.Pod{}
		out, err := d.try("", "-n", secondNamespace, "get", "pod", podName, "-o", "json")
		return err == nil && json.Unmarshal([]byte(out), pod) == nil && isReady(pod)
	})
	for _, host := range []string{"anthropic-oauth-proxy", secondName} {
		d.await(time.Minute, "a whole stream from "+host, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			body, err := d.tailnet.callAt(ctx, host, sim.Plan{Deltas: deltas, Stream: true})
			return err == nil && body == complete
		})
	}
	if code, said := d.script("verify", "-n", secondNamespace, "-t", "60"); code != 0 || !strings.Contains(said, "http://"+secondName+":8080") {
		t.Errorf("verify -n %s exits %d:\n%s", secondNamespace, code, said)
	}
	if pod := d.pod(); pod.UID != first.UID || !isReady(pod) {
		t.Error("the first install's pod was replaced, or is not Ready")
	}
	d.run("-n", secondNamespace, "delete", "statefulset", "--all")
	d.run("-n", secondNamespace, "delete", "pods", "--all", "--grace-period=1")
	d.run("delete", "namespace", secondNamespace, "--timeout=120s")
}
