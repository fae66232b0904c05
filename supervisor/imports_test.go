package supervisor

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "anthropic-oauth-proxy"

// listed is a package as `go list -json` tells of it.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string // of the package itself, without its tests
	Deps       []string // all that it needs, directly or not
	GoFiles    []string // without tests
}

// goList lists packages by name.
func goList(t *testing.T, args ...string) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,Imports,Deps,GoFiles"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	all := make(map[string]listed)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// room names a package within the module; it is empty for others.
func room(path string) string {
	name, _ := strings.CutPrefix(path, module+"/")
	if name == path {
		return ""
	}
	return name
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

// Who may import whom is the design: facts travel up, wishes down, and nobody
// knows a neighbour.
func TestWhoImportsWhom(t *testing.T) {
	packages := goList(t, "-deps", module+"/...")
	const conductor = "actors/conductor"
	for _, p := range packages {
		name := room(p.ImportPath)
		if name == "" {
			continue
		}
		forbid := func(imports []string, why string, bad func(string) bool) {
			for _, i := range imports {
				if bad(i) {
					t.Errorf("%s imports %s: %s", name, i, why)
				}
			}
		}
		if !within(name, "internal/testkit") {
			forbid(p.Imports, "what tests share is no part of the product", func(i string) bool { return within(room(i), "internal/testkit") })
		}
		actor := within(name, "actors")
		switch {
		case name == "messages":
			forbid(p.Deps, "messages import the standard library only", func(i string) bool { return !packages[i].Standard })
		case name == "internal/lifecycle":
			forbid(p.Imports, "the machine is pure", func(i string) bool {
				return slices.ContainsFunc([]string{"context", "sync", "net", "os"}, func(banned string) bool { return within(i, banned) })
			})
			forbid(p.Deps, "the machine knows messages alone", func(i string) bool { return room(i) != "" && room(i) != "messages" })
		case within(name, "internal/proxy"):
			forbid(p.Deps, "the data plane does not know that it is supervised", func(i string) bool {
				return slices.ContainsFunc([]string{"actors", "supervisor", "messages", "internal/lifecycle", "internal/config", "cmd"},
					func(banned string) bool { return within(room(i), banned) })
			})
		case actor:
			forbid(p.Deps, "actors never know each other", func(i string) bool { return within(room(i), "actors") })
			forbid(p.Deps, "actors are supervised, they do not supervise", func(i string) bool { return room(i) == "supervisor" })
		}
		forbid(p.Imports, "who executes a template makes the linker keep every exported method, a third of the binary", func(i string) bool {
			return i == "html/template" || i == "text/template"
		})
		if name != conductor && name != "supervisor" {
			forbid(p.Imports, "only the conductor steps the machine, and only Build makes one", func(i string) bool { return room(i) == "internal/lifecycle" })
		}
		if within(name, "internal") {
			forbid(p.Deps, "what is shared knows no actor", func(i string) bool { return within(room(i), "actors") || room(i) == "supervisor" })
		}
		if !within(name, "cmd") {
			forbid(p.Imports, "only the command supervises the supervisor", func(i string) bool { return room(i) == "supervisor" })
		}
	}
}

// What only tests on a real tailnet or cluster need lives in modules of its
// own: here it would end up in the service's go.mod.
func TestHeavyDependenciesStayOut(t *testing.T) {
	packages := goList(t, "-deps", "-test", module+"/...")
	if _, there := packages["tailscale.com/ipn/ipnstate"]; !there {
		t.Fatal("the list is not the service's")
	}
	for path := range packages {
		for _, heavy := range []string{
			"tailscale.com/tsnet", "tailscale.com/tstest", "tailscale.com/wgengine/magicsock", "gvisor.dev/gvisor",
			"github.com/anthropics/anthropic-sdk-go", "k8s.io/client-go", "sigs.k8s.io",
		} {
			if within(path, heavy) {
				t.Errorf("the main module needs %s", path)
			}
		}
	}
}

// Importing net/http/pprof, as a dependency does, puts pages on the default
// mux. Nobody may serve that, by name or by a nil handler. And the tree ends by
// its lifecycle alone: suture's own ways to end are not used.
func TestWhatNobodyUses(t *testing.T) {
	banned := map[string][]string{
		"http":   {"DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS"},
		"suture": {"ErrTerminateSupervisorTree", "ErrDoNotRestart"},
	}
	servers := 0
	for _, p := range goList(t, module+"/...") {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && slices.Contains(banned[x.Name], n.Sel.Name) {
						t.Errorf("%s uses %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name)
					}
				case *ast.CompositeLit:
					if sel, ok := n.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Server" {
						servers++
						if !sets(n, "Handler") {
							t.Errorf("%s makes a server without a handler", fset.Position(n.Pos()))
						}
					}
				}
				return true
			})
		}
	}
	if servers != 2 {
		t.Errorf("the service makes %d HTTP servers, want two", servers)
	}
}

func sets(lit *ast.CompositeLit, field string) bool {
	return slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		key, ok := kv.Key.(*ast.Ident)
		return ok && key.Name == field
	})
}

// The same, seen from outside.
func TestNoDebugPages(t *testing.T) {
	s := start(t, setting{})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug/requests"} {
		if code, body := s.page(path); code != 404 {
			t.Errorf("%s on the admin port: %d %s", path, code, body)
		}
	}
}
