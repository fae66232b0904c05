package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// caddyVersion is the release that -caddy builds.
const caddyVersion = "v2.11.9"

const caddyMain = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
`

// findCaddy returns the path of a caddy binary: one on the PATH, or the one
// that an earlier run built. With build it makes one if there is none, from a
// module of its own in the user's cache; that takes minutes. "" means none.
func findCaddy(build bool) (string, error) {
	if path, err := exec.LookPath("caddy"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	dir := filepath.Join(cache, "anthropic-oauth-proxy-bench", "caddy-"+caddyVersion)
	path := filepath.Join(dir, "caddy")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if !build {
		return "", nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build caddy: %w", err)
	}
	if _, err := write(dir, "main.go", caddyMain); err != nil {
		return "", fmt.Errorf("build caddy: %w", err)
	}
	if _, err := write(dir, "go.mod", "module caddy\n\ngo 1.26\n"); err != nil {
		return "", fmt.Errorf("build caddy: %w", err)
	}
	for _, argv := range [][]string{
		{"go", "get", "github.com/caddyserver/caddy/v2@" + caddyVersion},
		{"go", "mod", "tidy"},
		{"go", "build", "-trimpath", "-o", path, "."},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build caddy: %v: %w\n%s", argv, err, out)
		}
	}
	return path, nil
}
