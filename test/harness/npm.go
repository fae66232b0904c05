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
	installed := func() bool {
		_, err := os.Stat(filepath.Join(dir, "installed"))
		return err == nil
	}
	if installed() {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	// Beside its place until it is whole: an install that is killed leaves
	// nothing that the next one meets.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "npm-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := os.CopyFS(fresh, os.DirFS(manifest)); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(fresh, "installed"), nil, 0o644); err != nil {
		return "", err
	}
	if installed() { // by another process, meanwhile
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(fresh, dir)
}
