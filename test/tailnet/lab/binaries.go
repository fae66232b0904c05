package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"anthropic-oauth-proxy/test/harness"
)

// cacheDir is outside the repository and survives runs: a cold build of
// tailscaled takes minutes.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir() // no home: a container
	}
	dir := filepath.Join(base, "anthropic-oauth-proxy-test")
	return dir, os.MkdirAll(dir, 0o755)
}

// Tailscaled builds the pinned daemon once, and returns its path.
var Tailscaled = sync.OnceValues(func() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	path := filepath.Join(dir, "tailscaled")
	// The go command knows when there is nothing to do.
	cmd := exec.Command("go", "build", "-o", path, "tailscale.com/cmd/tailscaled")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // one build for tests and demo alike
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build tailscaled: %w\n%s", err, out)
	}
	return path, nil
})

// ProxyBinary builds the service once, and returns its path.
var ProxyBinary = sync.OnceValues(func() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	return harness.Build(dir)
})
