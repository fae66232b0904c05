//go:build cluster

package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An overlay is what the test adds to a kustomization of the project: local
// images, a coordination server and an API on this machine.
type overlay struct {
	dir string
	// resource is a kustomization of the repository, by default the base, and
	// namespace its namespace, by default the base's.
	resource, namespace string
	// components are added to it, by name.
	components []string
	tailnet    *tailnet
	// change edits the configuration that is applied.
	change func(string) string
}

const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: %[3]s
resources: [%[1]s, networkpolicy.yaml]
components: [%[2]s]
images:
  - {name: ghcr.io/your-org/anthropic-oauth-proxy, newName: localhost/anthropic-oauth-proxy, newTag: test}
  - {name: ghcr.io/tailscale/tailscale, newName: localhost/tailscale, newTag: test}
configMapGenerator:
  - {name: anthropic-oauth-proxy-config, behavior: merge, files: [config.toml]}
  - {name: test-ca, files: [ca.pem]}
labels:
  - pairs: {app.kubernetes.io/part-of: anthropic-oauth-proxy, app.kubernetes.io/managed-by: kustomize}
patches:
  - path: statefulset.yaml
`

const patch = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: anthropic-oauth-proxy}
spec:
  template:
    spec:
      affinity: null # one node must do for two pods here
      initContainers:
        - name: tailscale
          env:
%s      containers:
        - name: proxy
          env: [{name: SSL_CERT_FILE, value: /etc/test-ca/ca.pem}]
          volumeMounts: [{name: test-ca, mountPath: /etc/test-ca, readOnly: true}]
      volumes:
        - name: test-ca
          configMap: {name: test-ca}
`

// reach opens the way to this machine, where the test's tailnet and API are.
const reach = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-reach}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{ipBlock: {cidr: %[1]s/32}}]}]
  egress: [{to: [{ipBlock: {cidr: %[1]s/32}}]}]
`

// write makes the kustomization and returns its directory.
func (o *overlay) write(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.Rel(o.dir, root)
	if err != nil {
		t.Fatal(err)
	}
	var components []string
	for _, name := range o.components {
		components = append(components, filepath.Join(tree, "k8s/components", name))
	}
	config, err := os.ReadFile(filepath.Join(root, "k8s/base/config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "https://api.anthropic.com", o.tailnet.api.URL(), 1)
	if o.change != nil {
		text = o.change(text)
	}
	ca, err := os.ReadFile(o.tailnet.ca)
	if err != nil {
		t.Fatal(err)
	}
	var env strings.Builder
	fmt.Fprintf(&env, "            - {name: TS_EXTRA_ARGS, value: \"--login-server=%s\"}\n", o.tailnet.login)
	variables := isolation(o.tailnet.host)
	for _, name := range slices.Sorted(maps.Keys(variables)) { // in one order, or each write would roll the pods
		fmt.Fprintf(&env, "            - {name: %s, value: \"%s\"}\n", name, variables[name])
	}
	for name, content := range map[string]string{
		"kustomization.yaml": fmt.Sprintf(kustomization, filepath.Join(tree, cmp.Or(o.resource, "k8s/base")), strings.Join(components, ", "), cmp.Or(o.namespace, namespace)),
		"statefulset.yaml":   fmt.Sprintf(patch, env.String()),
		"networkpolicy.yaml": fmt.Sprintf(reach, o.tailnet.host),
		"config.toml":        text,
		"ca.pem":             string(ca),
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o.dir
}
