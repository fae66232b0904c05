package harness

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Whatever an install that was killed left, the next one is whole, and the one
// after it has nothing to do.
func TestAnInstallThatWasKilledIsMadeAnew(t *testing.T) {
	bin, manifest := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", t.TempDir())
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	runs := filepath.Join(bin, "runs")
	write(filepath.Join(bin, "npm"), "#!/bin/sh\ngrep -q '^a lock$' package-lock.json && grep -q '^a package$' package.json && echo . >> "+runs+"\n")
	lock := "a lock\n"
	write(filepath.Join(manifest, "package-lock.json"), lock)
	write(filepath.Join(manifest, "package.json"), "a package\n")
	half := filepath.Join(cache, "anthropic-oauth-proxy-test", fmt.Sprintf("npm-%x", sha256.Sum256([]byte(lock)))[:16])
	write(filepath.Join(half, "package-lock.json"), "half a")

	for range 2 {
		dir, err := NodePackages(manifest)
		if err != nil || dir != half {
			t.Fatalf("got %q, %v, want %q", dir, err, half)
		}
	}
	if ran, err := os.ReadFile(runs); err != nil || len(ran) != len(".\n") {
		t.Errorf("npm ran %q, %v, want once", ran, err)
	}
	if left, err := os.ReadDir(filepath.Dir(half)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v, want only the install", left, err)
	}
}
