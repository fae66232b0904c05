package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plan is which rooms below internal each of them may open; a room that is not
// here is not part of the house yet. The way of the bytes is edge, proxy,
// upstream: the two sides know neither each other nor the policy between them.
var plan = map[string][]string{
	"admission":          {"roll"},
	"callers":            {"edge"},
	"config":             {"headers"},
	"doctor":             {"admission", "config", "status", "upstream"},
	"edge":               {"headers", "roll", "telemetry"},
	"headers":            {},
	"lifecycle":          {},
	"proxy":              {"admission", "edge", "headers", "proxy/apierror", "upstream"},
	"proxy/apierror":     {"headers"},
	"roll":               {},
	"status":             {"headers", "proxy", "roll"},
	"telemetry":          {},
	"testkit":            {},
	"testkit/standard":   {"headers", "upstream"},
	"testkit/tailscaled": {"testkit"},
	"tracing":            {"proxy"},
	"upstream":           {"headers"},
}

func TestTheHouseIsAsPlanned(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range goList(t, module+"/internal/...") {
		name := strings.TrimPrefix(room(p.ImportPath), "internal/")
		doors, planned := plan[name]
		if seen[name] = true; !planned {
			t.Errorf("internal/%s is in no plan", name)
		}
		for _, i := range p.Imports {
			if to, below := strings.CutPrefix(room(i), "internal/"); below && !slices.Contains(doors, to) {
				t.Errorf("internal/%s imports internal/%s, which is not planned", name, to)
			}
		}
	}
	for name, doors := range plan {
		if !seen[name] {
			t.Errorf("internal/%s is planned and not there", name)
		}
		for _, to := range doors {
			if _, planned := plan[to]; !planned {
				t.Errorf("internal/%s may open internal/%s, which is not planned", name, to)
			}
		}
	}
}

// A newcomer reads a file in one sitting, and no room is most of the house.
func TestFilesAndRoomsStaySmall(t *testing.T) {
	const mostLines = 300
	rooms, whole := make(map[string]int), 0
	for _, p := range goList(t, module+"/...") {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(text, []byte("\n"))
			if lines > mostLines {
				t.Errorf("%s has %d lines: cut it where its subject changes", path, lines)
			}
			rooms[room(p.ImportPath)] += lines
			whole += lines
		}
	}
	for name, lines := range rooms {
		if lines > whole/4 {
			t.Errorf("%s has %d of %d lines, more than a quarter", name, lines, whole)
		}
	}
}
