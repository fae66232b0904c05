package edge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section is how a test names what it shows: "9112 2.2".
var section = regexp.MustCompile(`\b911[012] \d+(\.\d+)*`)

// specs/http.md lists what the RFCs ask, section by section, with the tests that
// show it. Each of them exists and names the section, and each test that names a
// section is listed with it.
func TestEverySectionHasItsTests(t *testing.T) {
	page, err := os.ReadFile("../../specs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if !strings.HasPrefix(line, "| 911") || len(cells) < 3 {
			continue
		}
		for _, test := range strings.Split(cells[len(cells)-1], ", ") {
			listed[cells[0]+" "+test] = true
		}
	}
	named := map[string]bool{}
	for _, room := range []string{"config", "edge", "headers", "proxy", "upstream"} {
		files, _ := filepath.Glob("../" + room + "/*_test.go")
		for _, file := range files {
			sectionsOf(t, file, func(test, section string) { named[section+" "+room+"."+test] = true })
		}
	}
	for pair := range listed {
		if !named[pair] {
			t.Errorf("specs/http.md has %q; there is no such test, or it does not name the section", pair)
		}
	}
	var missing []string
	for pair := range named {
		if !listed[pair] {
			missing = append(missing, pair)
		}
	}
	slices.Sort(missing)
	for _, pair := range missing {
		t.Errorf("specs/http.md lacks %q", pair)
	}
	if len(listed) < 100 {
		t.Errorf("only %d are listed", len(listed))
	}
}

// sectionsOf finds the sections that each test of a file names.
func sectionsOf(t *testing.T, name string, found func(test, section string)) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
			continue
		}
		from := f.Pos()
		if f.Doc != nil {
			from = f.Doc.Pos()
		}
		for _, s := range section.FindAllString(string(text[fset.Position(from).Offset:fset.Position(f.End()).Offset]), -1) {
			found(f.Name.Name, s)
		}
	}
}
