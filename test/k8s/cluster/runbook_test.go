//go:build cluster

package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/k8s"
)

func runbookText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(repository + "/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shell runs a snippet as an operator on the tailnet would, from a directory that
// has the project's k8s. What it leaves in the background is ended with it.
func (d *deployment) shell(t *testing.T, script string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := exec.LookPath(d.kubectl)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"k8s": root + "/k8s", "kubectl": kubectl} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "KUBECTL="+d.kubectl, "http_proxy="+d.tailnet.proxy, "no_proxy=localhost,127.0.0.1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// runbook runs the RUNBOOK's snippets of which it says how, with some words
// replaced by what they stand for here.
func (d *deployment) runbook(t *testing.T, how string, oldnew ...string) {
	t.Helper()
	blocks, err := k8s.RunbookBlocks(runbookText(t))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range blocks {
		if block.How != how {
			continue
		}
		ran++
		script := strings.NewReplacer(oldnew...).Replace(block.Script)
		out, err := d.shell(t, script)
		t.Logf("%s---\n%s", script, out)
		if err != nil {
			t.Errorf("%v of the RUNBOOK's\n%s", err, script)
		}
	}
	if ran == 0 {
		t.Errorf("the RUNBOOK has nothing to %s", how)
	}
}

// runbookHealthy runs what only looks, on a deployment to which nothing is wrong.
func (d *deployment) runbookHealthy(t *testing.T) {
	d.runbook(t, "run: healthy")
	for _, command := range k8s.RunbookCommands(runbookText(t)) {
		if !k8s.LooksOnly(command) {
			continue
		}
		out, err := d.shell(t, command)
		if err != nil && !(strings.Contains(command, "--previous") && strings.Contains(out, "previous terminated container")) {
			t.Errorf("`%s`: %v\n%s", command, err, out)
		}
	}
	said, err := d.shell(t, "kubectl exec "+podName+" -c proxy -- /anthropic-oauth-proxy status")
	if err != nil || !strings.Contains(said, "[ok] Healthy") {
		t.Errorf("status (%v) does not say that a healthy pod is healthy:\n%s", err, said)
	}
}

// runbookLast runs what ends something: the dump of a process, the taint of a
// node that is given up.
func (d *deployment) runbookLast(t *testing.T) {
	before := d.pod()
	d.runbook(t, "run: last")
	dumped := d.awaitReady(3*time.Minute, "")
	if dumped.UID == before.UID {
		t.Error("the pod of a node that is out of service was not given up")
	}
	d.streams(t)
}
