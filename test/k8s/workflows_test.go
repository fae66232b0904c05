package k8s

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func workflows(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(repository + "/.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("find workflows: %v, %d files", err, len(files))
	}
	return files
}

func TestWorkflowsPassActionlint(t *testing.T) {
	args := append([]string{"tool", "actionlint", "-no-color"}, workflows(t)...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("actionlint: %v\n%s", err, out)
	}
}

// A workflow is what the tests read of one.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Uses        string            `json:"uses"`
		Needs       string            `json:"needs"`
		Permissions map[string]string `json:"permissions"`
		Timeout     int               `json:"timeout-minutes"`
		Steps       []struct {
			Run  string         `json:"run"`
			With map[string]any `json:"with"`
		} `json:"steps"`
	} `json:"jobs"`
}

func readWorkflow(t *testing.T, file string) (w workflow) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &w); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return w
}

// Nobody gets more than read access by default, and nothing runs for hours.
func TestWorkflowsAreModest(t *testing.T) {
	for _, file := range workflows(t) {
		w := readWorkflow(t, file)
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: default permissions are %v, want contents: read", file, w.Permissions)
		}
		for name, job := range w.Jobs {
			if job.Timeout == 0 && job.Uses == "" {
				t.Errorf("%s: job %s may run for six hours", file, name)
			}
		}
	}
}

// What is published has passed the checks of the same commit, and binaries are
// never published without their image.
func TestReleaseWaits(t *testing.T) {
	w := readWorkflow(t, repository+"/.github/workflows/release.yml")
	if uses := w.Jobs["checks"].Uses; uses != "./.github/workflows/ci.yml" {
		t.Errorf("the release's checks are %q, not those of ci.yml", uses)
	}
	for name, job := range w.Jobs {
		writes := false
		for _, access := range job.Permissions {
			writes = writes || access == "write"
		}
		for at, seen := name, 0; writes && at != "checks"; at, seen = w.Jobs[at].Needs, seen+1 {
			if at == "" || seen > len(w.Jobs) {
				t.Errorf("job %s may publish and does not wait for the checks", name)
				break
			}
		}
	}
	if needs := w.Jobs["binaries"].Needs; needs != "image" {
		t.Errorf("binaries need %q, not the image", needs)
	}
}

// The index of an image is the same at every run only without the builder's
// own attestations and without a label that a clock writes.
func TestReleasedImageHasNoClock(t *testing.T) {
	w := readWorkflow(t, repository+"/.github/workflows/release.yml")
	built := 0
	for _, step := range w.Jobs["image"].Steps {
		if step.With["build-args"] == nil {
			continue
		}
		built++
		if step.With["provenance"] != false || step.With["sbom"] != false || step.With["labels"] != nil {
			t.Errorf("the image's digest would change from run to run: %v", step.With)
		}
		if outputs, _ := step.With["outputs"].(string); !strings.Contains(outputs, "rewrite-timestamp=true") {
			t.Errorf("the layers keep the times of the build: %q", outputs)
		}
	}
	if built != 1 {
		t.Errorf("%d steps build an image", built)
	}
}

// Nothing builds the binary but by the one recipe, so that no build has tags,
// flags or stamps of its own.
func TestOneRecipeBuildsTheBinary(t *testing.T) {
	files := append(workflows(t), repository+"/Makefile", repository+"/Dockerfile", repository+"/.ci/binaries", repository+"/.ci/run")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, "go build") && strings.Contains(line, "cmd/anthropic-oauth-proxy") || strings.Contains(line, "main.version") {
				t.Errorf("%s builds the binary by itself: %s", file, strings.TrimSpace(line))
			}
		}
	}
}

func TestReleaseNames(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		kind, ref, want string
	}{
		{"branch", "main", "image=ghcr.io/your-org/anthropic-oauth-proxy\nversion=0123456789ab\ntag=sha-" + commit + "\n"},
		{"tag", "v1.2.3", "image=ghcr.io/your-org/anthropic-oauth-proxy\nversion=v1.2.3\ntag=v1.2.3\n"},
		{"tag", "v1.2.3-rc.1", "image=ghcr.io/your-org/anthropic-oauth-proxy\nversion=v1.2.3-rc.1\ntag=v1.2.3-rc.1\n"},
	} {
		cmd := exec.Command(repository + "/.ci/release-names")
		cmd.Env = append(os.Environ(), "GITHUB_REPOSITORY=Your-Org/Anthropic-OAuth-Proxy", "GITHUB_REF_TYPE="+c.kind, "GITHUB_REF_NAME="+c.ref, "GITHUB_SHA="+commit)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != c.want {
			t.Errorf("%s %s: %v\n%s", c.kind, c.ref, err, out)
		}
	}
}

// Each case spoils a workflow in one way that the offline check must name.
func TestUnknownActionsAreNoticed(t *testing.T) {
	pinned := "sigstore/cosign-installer@6f9f17788090df1f26f669e9d70d6ae9567deba6 # v4.1.2"
	for _, c := range []struct{ name, new, want string }{
		{"as it is", pinned, ""},
		{"a tag that does not exist", "sigstore/cosign-installer@v4", "is not pinned"},
		{"a branch", "sigstore/cosign-installer@main", "is not pinned"},
		{"a commit without its version", "sigstore/cosign-installer@6f9f17788090df1f26f669e9d70d6ae9567deba6", "is not pinned"},
		{"another commit of that version", strings.Replace(pinned, "6f9f", "0000", 1), "does not know"},
		{"another version of that commit", strings.Replace(pinned, "v4.1.2", "v4.1.3", 1), "does not know"},
		{"an action that nobody has looked at", strings.Replace(pinned, "sigstore", "sigstor", 1), "does not know"},
		{"a second comment", pinned + " and so on", "is not pinned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir+"/.github", os.DirFS(repository+"/.github")); err != nil {
				t.Fatal(err)
			}
			file := dir + "/.github/workflows/release.yml"
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(data), pinned) != 1 {
				t.Fatalf("release.yml does not use %s once", pinned)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(data), pinned, c.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(repository+"/.ci/check-actions", dir).CombinedOutput()
			if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) {
				t.Errorf("want %q, got %v:\n%s", c.want, err, out)
			}
		})
	}
}

// The bytes of a release depend on the sources and nothing else: not on where
// they lie, and not on when they are built.
func TestBinariesAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary twice")
	}
	var sums []string
	for range 2 {
		root, out := t.TempDir(), t.TempDir()
		for _, name := range []string{"go.mod", "go.sum", "cmd", "messages", "supervisor", "actors", "internal", ".ci", "test/k8s"} {
			copyTree(t, repository+"/"+name, filepath.Join(root, name))
		}
		cmd := exec.Command(root+"/.ci/binaries", out)
		cmd.Env = append(os.Environ(), "VERSION=v1.2.3", "REVISION=0123456789ab", "PLATFORMS=linux/amd64")
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("binaries: %v\n%s", err, said)
		}
		sum, err := os.ReadFile(out + "/SHA256SUMS")
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(sum))
		said, err := exec.Command(out+"/anthropic-oauth-proxy-linux-amd64", "version").CombinedOutput()
		if err != nil || !strings.Contains(string(said), "v1.2.3") || !strings.Contains(string(said), "commit 0123456789ab") {
			t.Errorf("version says %q (%v)", said, err)
		}
		bill, err := os.ReadFile(out + "/anthropic-oauth-proxy-linux-amd64.cdx.json")
		if err != nil || !strings.Contains(string(bill), `"pkg:golang/tailscale.com@`) {
			t.Errorf("the bill of materials does not name tailscale.com (%v)", err)
		}
	}
	t.Logf("SHA256SUMS:\n%s", sums[0])
	if sums[0] != sums[1] {
		t.Errorf("two builds of one commit differ:\n%s\n%s", sums[0], sums[1])
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
