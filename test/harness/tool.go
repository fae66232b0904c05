package harness

import (
	"os"
	"os/exec"
	"testing"
)

// Tool returns the path of the first of the programs that this machine has. A
// test that needs one is skipped without it, and says what is not tested then;
// where CI is set it fails, so that nothing goes untested unseen.
func Tool(t testing.TB, untested string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const how = "%s is not installed (.ci/deps does that, as root): not tested: %s"
	if os.Getenv("CI") != "" {
		t.Fatalf(how, names[0], untested)
	}
	t.Skipf(how, names[0], untested)
	return ""
}
