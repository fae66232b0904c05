package harness

import (
	"fmt"
	"os"
	"testing"
)

// binary is what Start and Run use by default. Main sets it before any test
// runs.
var binary string

// Main is the body of a TestMain: it builds the service once, runs the tests
// and returns the exit code.
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
	return m.Run()
}
