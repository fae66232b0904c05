package k8s

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// An action is named by a version tag or by a digest that Renovate has pinned,
// never by a branch; and nobody gets more than read access by default.
func TestWorkflowsArePinnedAndModest(t *testing.T) {
	uses := regexp.MustCompile(`uses:\s*(\S+)`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})$`)
	for _, file := range workflows(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range uses.FindAllStringSubmatch(string(data), -1) {
			if !pinned.MatchString(match[1]) {
				t.Errorf("%s: %s is not pinned", file, match[1])
			}
		}
		var workflow struct {
			Permissions map[string]string         `json:"permissions"`
			Jobs        map[string]map[string]any `json:"jobs"`
		}
		if err := yaml.Unmarshal(data, &workflow); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
			t.Errorf("%s: default permissions are %v, want contents: read", file, workflow.Permissions)
		}
		for name, job := range workflow.Jobs {
			if job["timeout-minutes"] == nil {
				t.Errorf("%s: job %s may run for six hours", file, name)
			}
		}
	}
}
