package lifecycle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"anthropic-oauth-proxy/messages"
)

// Strangers to the sum, and a machine that New did not make, are no reason to
// panic.
func TestStepSurvivesStrangers(t *testing.T) {
	for _, p := range messages.Phases {
		m := in(t, p)
		for _, ev := range []messages.Event{nil, &messages.Ticked{}, &messages.TailnetObserved{}} {
			if got := m.Step(epoch, ev).State().Phase; got != p {
				t.Errorf("%s x %T: in %s", p, ev, got)
			}
		}
	}
	for _, ev := range samples {
		Machine{}.Step(epoch, ev)
	}
}

// The core stays pure: it has no way to wait, to talk or to read a clock.
func TestPurity(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{`"fmt"`, `"time"`, `"anthropic-oauth-proxy/messages"`}
	pureTime := []string{"Time", "Duration", "Second"}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if !slices.Contains(allowed, i.Path.Value) {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(pureTime, sel.Sel.Name) {
					t.Errorf("%s uses time.%s", name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}
