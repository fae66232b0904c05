package harness

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// binary is what Start and Run use by default. Main sets it before any test
// runs.
var binary string

// Main is the body of a TestMain: it builds the service once, runs the tests,
// looks for leaked goroutines and returns the exit code.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "anthropic-oauth-proxy-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
