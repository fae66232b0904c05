package proxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var fileLine = regexp.MustCompile(`(?m)^//\t([a-z]+\.go) `)

// The list in doc.go is the order of the files: each knows those below it, and
// nothing points up.
func TestNoArrowPointsUp(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range fileLine.FindAllStringSubmatch(string(doc), -1) {
		order = append(order, m[1])
	}
	fset := token.NewFileSet()
	var files []*ast.File
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "doc.go" {
			continue
		}
		if !slices.Contains(order, name) {
			t.Errorf("doc.go does not tell of %s", name)
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) != len(order) {
		t.Errorf("doc.go tells of %d files, there are %d", len(order), len(files))
	}
	// What other packages declare does not matter here: imports stay unresolved.
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Error: func(error) {}}
	_, _ = config.Check("proxy", fset, files, &info)
	arrows := 0
	for use, object := range info.Uses {
		if object.Pkg() == nil || object.Pkg().Path() != "proxy" || !object.Pos().IsValid() {
			continue
		}
		from, to := fset.Position(use.Pos()), fset.Position(object.Pos())
		if from.Filename != to.Filename {
			arrows++
		}
		if slices.Index(order, from.Filename) > slices.Index(order, to.Filename) {
			t.Errorf("%v uses %s of %s, which stands above it", from, use.Name, to.Filename)
		}
	}
	if arrows < 100 {
		t.Errorf("only %d arrows were found", arrows)
	}
}
