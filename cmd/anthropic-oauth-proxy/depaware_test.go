package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var updateList = flag.Bool("update", false, "write depaware.txt")

const (
	listFile = "depaware.txt"
	listHead = "# The packages of other modules that are linked into the binary, each with the\n" +
		"# package that brings it. A new line is a decision: see CONTRIBUTING.md.\n" +
		"# Written by: go test ./cmd/anthropic-oauth-proxy -run Linked -update\n"
	ours = "anthropic-oauth-proxy"
)

// What is linked is known: a package that comes along unseen is a surprise for
// whoever reads the advisories.
func TestLinkedPackagesAreListed(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{join .Imports \" \"}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	// Packages come after what they import: the last one to bring a package is
	// the nearest to main.
	brings, all := make(map[string]string), []string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if !strings.HasPrefix(fields[0], ours) {
			all = append(all, fields[0])
		}
		for _, imported := range fields[1:] {
			brings[imported] = fields[0]
		}
	}
	slices.Sort(all)
	var b strings.Builder
	b.WriteString(listHead)
	for _, name := range all {
		fmt.Fprintf(&b, "%s from %s\n", name, brings[name])
	}
	if *updateList {
		if err := os.WriteFile(listFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(listed) == b.String() {
		return
	}
	was, is := strings.Split(string(listed), "\n"), strings.Split(b.String(), "\n")
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
