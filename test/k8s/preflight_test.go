package k8s

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stub answers as kubectl does, from files and variables, as far as preflight
// asks before it looks at what is deployed.
const stub = `#!/bin/sh
case "$*" in
*" kustomize "* | "kustomize "*) cat "$RENDERED" ;;
*"--raw /readyz") echo ok ;;
*"--raw /version") printf '{\n  "major": "1",\n  "minor": "%s"\n}\n' "$MINOR" ;;
*" get nodes "*) i=0; while [ $i -lt "$NODES" ]; do echo "node-$i True"; i=$((i + 1)); done ;;
*" get storageclass standard"*) [ -n "$CLASS" ] ;;
*" get storageclass "*) echo true ;;
*) exit 1 ;;
esac
`

// What only another cluster would refuse: preflight asks a stand-in for kubectl.
func TestPreflightKnowsTheCluster(t *testing.T) {
	for _, c := range []struct {
		name, dir, minor, nodes string
		class                   string
		without                 string // taken out of the kustomization
		want                    string
	}{
		{name: "before native sidecars", dir: "overlays/production", minor: "28", nodes: "1", want: "BLOCKED  the server is Kubernetes 1.28, this needs 1.29"},
		{name: "with them", dir: "overlays/production", minor: "29", nodes: "1", want: "ok       the server is Kubernetes 1.29, this needs 1.29"},
		{name: "a cloud's version", dir: "overlays/production", minor: "31+", nodes: "1", want: "ok       the server is Kubernetes 1.31"},
		{name: "a hook that only sleeps", dir: "overlays/high-availability", minor: "29", nodes: "2", want: "BLOCKED  the server is Kubernetes 1.29, this needs 1.30"},
		{name: "two pods for one node", dir: "overlays/high-availability", minor: "30", nodes: "1", want: "BLOCKED  2 pods, no two of them on one node, and 1 nodes are Ready"},
		{name: "a claim for each pod", dir: "overlays/high-availability", minor: "30", nodes: "2", want: "ok       the claim ts-state-anthropic-oauth-proxy-1 will use the default storage class"},
		{name: "a key for each pod", dir: "overlays/high-availability", minor: "30", nodes: "2", want: "warning  2 nodes will join with one auth key: it must be reusable"},
		{name: "a class that is there", dir: "../examples/second-install", minor: "30", nodes: "1", class: "standard", want: "will use the storage class standard"},
		{name: "a class that is not", dir: "../examples/second-install", minor: "30", nodes: "1", want: "BLOCKED  no claim ts-state-anthropic-oauth-proxy-0 and no storage class standard"},
		{name: "its own namespace", dir: "../examples/second-install", minor: "30", nodes: "1", want: "no namespace claude-staging"},
		{name: "alerts of another install", dir: "../examples/second-install", minor: "30", nodes: "1",
			without: "transformers:\n  - ../../k8s/follow\n", want: "BLOCKED  the alerts of this install watch the namespace anthropic-oauth-proxy, not claude-staging"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := load(t)
			if c.without != "" {
				text, err := tree.Read(c.dir + "/kustomization.yaml")
				if err != nil || !strings.Contains(text, c.without) {
					t.Fatalf("%s has no %q (%v)", c.dir, c.without, err)
				}
				if err := tree.Write(c.dir+"/kustomization.yaml", strings.Replace(text, c.without, "", 1)); err != nil {
					t.Fatal(err)
				}
			}
			rendered, err := tree.YAML(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "rendered"), rendered, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(stub), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(repository+"/k8s/preflight", "-k", repository+"/k8s/"+c.dir)
			cmd.Env = append(os.Environ(), "KUBECTL="+dir+"/kubectl", "RENDERED="+dir+"/rendered", "MINOR="+c.minor, "NODES="+c.nodes, "CLASS="+c.class)
			said, _ := cmd.CombinedOutput() // nothing is deployed there: it always has a reason to say no
			if !strings.Contains(string(said), c.want) {
				t.Errorf("preflight does not say %q:\n%s", c.want, said)
			}
		})
	}
}
