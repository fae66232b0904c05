package main

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var updateList = flag.Bool("update", false, "write depaware.txt")

const (
	listFile = "depaware.txt"
	listHead = "# The packages of other modules that are linked into the binary. A new line is\n" +
		"# a decision: see CONTRIBUTING.md.\n" +
		"# Written by: go test ./cmd/anthropic-oauth-proxy -run Linked -update\n"
	ours = "anthropic-oauth-proxy"
)

// What is linked is known: a package that comes along unseen is a surprise for
// whoever reads the advisories.
func TestLinkedPackagesAreListed(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []string
	for name := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(name, ours) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	want := listHead + strings.Join(all, "\n") + "\n"
	if *updateList {
		if err := os.WriteFile(listFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(listed) == want {
		return
	}
	was, is := strings.Split(string(listed), "\n"), strings.Split(want, "\n")
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("linked and not listed: %s", line)
		}
	}
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("listed and not linked: %s", line)
		}
	}
	t.Error("if that is meant: go test ./cmd/anthropic-oauth-proxy -run Linked -update")
}
