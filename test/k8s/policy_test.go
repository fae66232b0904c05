package k8s

import (
	"slices"
	"strings"
	"testing"
)

// repository is the root of the project, seen from this package.
const repository = "../.."

func load(t *testing.T) *Tree {
	t.Helper()
	tree, err := LoadTree(repository)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// version is that of tailscale.com in the proxy's own go.mod.
func version(t *testing.T) string {
	t.Helper()
	v, err := ModuleVersion(repository+"/go.mod", "tailscale.com")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryVariantKeepsTheRules(t *testing.T) {
	tree := load(t)
	variants, err := tree.Variants()
	if err != nil {
		t.Fatal(err)
	}
	if len(variants) < 10 {
		t.Errorf("only %d variants: %v", len(variants), variants)
	}
	for _, dir := range variants {
		t.Run(dir, func(t *testing.T) {
			m, err := tree.Render(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, violation := range m.Check(version(t)) {
				t.Error(violation)
			}
		})
	}
}

// Each case breaks one thing that the rules must notice.
func TestEveryBreakageIsNoticed(t *testing.T) {
	const set, cfg, base = "base/statefulset.yaml", "base/config.toml", "base/kustomization.yaml"
	for _, c := range []struct{ name, file, old, new, want string }{
		{"hostNetwork", set, "serviceAccountName:", "hostNetwork: true\n      serviceAccountName:", "host namespaces"},
		{"hostPath", set, "emptyDir:\n            sizeLimit: 16Mi", "hostPath:\n            path: /var/run", "hostPath"},
		{"privileged", set, "allowPrivilegeEscalation: false", "privileged: true", "privileged"},
		{"capability kept", set, `drop: ["ALL"]`, `drop: ["NET_RAW"]`, "unrestricted capabilities"},
		{"root user", set, "runAsUser: 1000", "runAsUser: 0", "runAsUser=0"},
		{"no seccomp", set, "type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{"writable root", set, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "writable root"},
		{"no memory limit", set, "              memory: 512Mi\n", "", "no memory limit"},
		{"GOMEMLIMIT at the limit", set, "460MiB", "512MiB", "GOMEMLIMIT"},
		{"Secret in the kustomization", base, "configMapGenerator:", "secretGenerator:\n  - name: tailscale-auth\n    literals: [TS_AUTHKEY=x]\nconfigMapGenerator:", "no manifest may be of kind v1 Secret"},
		{"auth key in the configuration", cfg, "[tailscale]", "# tskey-auth-x\n[tailscale]", "holds a secret"},
		{"auth key for the proxy", set, "- name: CONFIG_PATH", "- name: TS_AUTHKEY\n              value: x\n            - name: CONFIG_PATH", "sidecar's alone"},
		{"another Secret", set, "name: tailscale-auth", "name: tailscale-key", "undocumented Secret"},
		{"service account token", set, "automountServiceAccountToken: false", "automountServiceAccountToken: true", "mounts a service account token"},
		{"socket path of the configuration", cfg, "/run/tailscaled/tailscaled.sock", "/run/tailscale/tailscaled.sock", "socket is"},
		{"socket path of the sidecar", set, "value: /run/tailscaled/tailscaled.sock", "value: /tmp/tailscaled.sock", "not one volume in both"},
		{"socket not mounted", set, "mountPath: /run/tailscaled\n              readOnly", "mountPath: /run/ts\n              readOnly", "not one volume in both"},
		{"state directory named tailscale", set, "/var/lib/ts-state", "/var/lib/tailscale", "named tailscale"},
		{"state in a kube Secret", set, "- name: TS_KUBE_SECRET\n              value: \"\"", "- name: TS_KUBE_SECRET\n              value: state", "TS_KUBE_SECRET"},
		{":latest", base, "newTag: v0.1.0", "newTag: latest", "not pinned"},
		{"tailscale of another version", base, "newTag: v1.102.5", "newTag: v1.80.0", "built with tailscale.com"},
		{"ordinary init container", set, "          restartPolicy: Always\n", "", "not Always"},
		{"liveness on /health", set, "path: /livez", "path: /health", "liveness probe"},
		{"readiness on /livez", set, "          readinessProbe:\n            httpGet:\n              path: /readyz", "          readinessProbe:\n            httpGet:\n              path: /livez", "readiness probe"},
		{"grace below the drain", set, "terminationGracePeriodSeconds: 150", "terminationGracePeriodSeconds: 110", "terminationGracePeriodSeconds does not exceed"},
		{"drain above the grace", cfg, "drain_timeout_secs = 100", "drain_timeout_secs = 140", "terminationGracePeriodSeconds does not exceed"},
		{"drain beyond a client's patience", cfg, "drain_timeout_secs = 100", "drain_timeout_secs = 110", "turns are lost"},
		{"no liveness of the sidecar", set, "          livenessProbe:\n            exec:", "          readinessProbe:\n            exec:", "sidecar has no liveness"},
		{"a dead proxy gets the pod's grace", set, "            terminationGracePeriodSeconds: 10\n", "", "proxy's liveness has no short"},
		{"a hung tailscaled gets the pod's grace", set, "            terminationGracePeriodSeconds: 5\n", "", "sidecar's liveness has no short"},
		{"a busy node is a dead daemon", set, "periodSeconds: 15", "periodSeconds: 2", "sidecar's liveness waits 6 s"},
		{"two tailnet names", set, "- name: TAILSCALE_HOSTNAME\n              valueFrom:\n                fieldRef:\n                  fieldPath: metadata.annotations['anthropic-oauth-proxy/tailnet-name']", "- name: TAILSCALE_HOSTNAME\n              value: proxy", "TAILSCALE_HOSTNAME differ"},
		{"Azure's wire server", "base/networkpolicy.yaml", `"168.63.129.16/32", `, "", "metadata service 168.63.129.16"},
		{"the link-local range", "base/networkpolicy.yaml", `"169.254.0.0/16", `, "", "metadata service 169.254.169.254"},
		{"GCP's over IPv6", "base/networkpolicy.yaml", `, "fd20:ce::254/128"`, "", "metadata service fd20:ce::254"},
		{"presence of another namespace", "overlays/production/kustomization.yaml", "transformers:\n  - ../../follow\n", "namespace: other\n", "watches the namespace"},
		{"replicas that nobody counts", "overlays/production/kustomization.yaml", "transformers:\n  - ../../follow\n", "replicas: [{name: anthropic-oauth-proxy, count: 2}]\n", "does not count to"},
		{"two pods on one node", "overlays/production/kustomization.yaml", "transformers:", "replicas: [{name: anthropic-oauth-proxy, count: 2}]\ntransformers:", "two pods may be on one node"},
		{"startup probe too short", set, "failureThreshold: 45", "failureThreshold: 30", "startup probe gives up"},
		{"unknown key in the configuration", cfg, "poll_interval_secs", "poll_interval", "configuration is refused"},
		{"plain http upstream", cfg, "https://api", "http://api", "configuration is refused"},
		{"admin on loopback", cfg, "0.0.0.0:9090", "127.0.0.1:9090", "no probe reaches it"},
		{"admin port elsewhere", cfg, "0.0.0.0:9090", "0.0.0.0:9091", "does not match the container port"},
		{"tailnet not watched", cfg, `mode = "sidecar"`, `mode = "off"`, "does not watch"},
		{"configuration not mounted", set, "name: anthropic-oauth-proxy-config", "name: proxy-config", "no ConfigMap"},
		{"selector of the Service", "base/service.yaml", "  selector:\n    app.kubernetes.io/name: anthropic-oauth-proxy", "  selector:\n    app.kubernetes.io/name: proxy", "Service/anthropic-oauth-proxy selects no pod"},
		{"port of the Service", "base/service.yaml", "targetPort: admin", "targetPort: metrics", "no container has the port"},
		{"selector of the budget", "base/poddisruptionbudget.yaml", "    matchLabels:\n      app.kubernetes.io/name: anthropic-oauth-proxy", "    matchLabels:\n      app: proxy", "PodDisruptionBudget/anthropic-oauth-proxy selects no pod"},
		{"namespace not restricted", "base/namespace.yaml", "enforce: restricted", "enforce: baseline", "does not enforce"},
		{"unknown field", set, "podManagementPolicy:", "podManagmentPolicy:", "podManagmentPolicy"},
		{"alert that does not parse", "components/alerts/prometheusrule.yaml", "(tailnet_connected{", "(tailnet_connected({", "alert ProxyTailnetNotConnected"},
		{"alert without a section", "components/monitoring/presence.yaml", "RUNBOOK.md#proxyscrapemissing", "RUNBOOK.md", "runbook_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := load(t)
			before, err := tree.Read(c.file)
			if err != nil {
				t.Fatal(err)
			}
			after := strings.ReplaceAll(before, c.old, c.new)
			if after == before {
				t.Fatalf("%s has no %q to break", c.file, c.old)
			}
			if err := tree.Write(c.file, after); err != nil {
				t.Fatal(err)
			}
			var found []string
			if m, err := tree.Render("overlays/production"); err != nil {
				found = []string{err.Error()}
			} else {
				found = m.Check(version(t))
			}
			if !slices.ContainsFunc(found, func(v string) bool { return strings.Contains(v, c.want) }) {
				t.Errorf("no violation mentions %q; found %q", c.want, found)
			}
		})
	}
}

func TestClusterAccessChangesOneLineOfTheConfiguration(t *testing.T) {
	tree := load(t)
	base, err := tree.Read("base/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	open, err := tree.Read("components/cluster-access/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := settings(open), settings(strings.Replace(base, "127.0.0.1:8080", "0.0.0.0:8080", 1)); !slices.Equal(got, want) {
		t.Errorf("cluster-access/config.toml is not the base's with listen_addr opened:\ngot  %q\nwant %q", got, want)
	}
}

// settings are the lines of a TOML file that are not comments.
func settings(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, "#") || line == "" })
}

func TestANewConfigurationHasANewName(t *testing.T) {
	name := func(tree *Tree) string {
		m, err := tree.Render("base")
		if err != nil {
			t.Fatal(err)
		}
		return m.StatefulSets[0].Spec.Template.Spec.Volumes[0].ConfigMap.Name
	}
	tree := load(t)
	before := name(tree)
	text, err := tree.Read("base/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Write("base/config.toml", strings.Replace(text, "max_connections = 1000", "max_connections = 999", 1)); err != nil {
		t.Fatal(err)
	}
	if after := name(tree); after == before {
		t.Errorf("the pods would not roll: the ConfigMap is still %s", after)
	}
}
