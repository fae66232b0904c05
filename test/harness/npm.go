package harness

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Claude is the launcher of the claude command below a directory that
// NodePackages returned.
const Claude = "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"

// NodePackages installs the npm packages that the directory manifest locks,
// once into the user's cache, and returns where they are. It needs npm and, the
// first time, the registry.
func NodePackages(manifest string) (string, error) {
	lock, err := os.ReadFile(filepath.Join(manifest, "package-lock.json"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "anthropic-oauth-proxy-test", fmt.Sprintf("npm-%x", sha256.Sum256(lock))[:16])
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(manifest)); err != nil && !os.IsExist(err) {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o644)
}
