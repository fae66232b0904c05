package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	examplePath = "../../anthropic-oauth-proxy.example.toml"
	readmePath  = "../../README.md"
)

func TestExampleSpellsOutTheDefaults(t *testing.T) {
	written, err := Load(Sources{Path: examplePath, Getenv: environ()})
	if err != nil {
		t.Fatal(err)
	}
	silent := load(t, "")
	silent.Source = written.Source
	if !reflect.DeepEqual(written, silent) {
		t.Errorf("the example is\n%+v\nthe defaults are\n%+v", written, silent)
	}
}

// A key that is declared is a field of the document, and the other way round, in
// the same order: what is printed reads as the example does.
func TestEveryKeyIsDeclaredOnce(t *testing.T) {
	var declared []string
	for _, k := range keys {
		declared = append(declared, k.name)
	}
	if fields := fieldsOf("", reflect.TypeFor[document]()); !slices.Equal(fields, declared) {
		t.Errorf("declared:\n%q\nfields of the document:\n%q", declared, fields)
	}
}

func fieldsOf(prefix string, t reflect.Type) (names []string) {
	for field := range t.Fields() {
		name := prefix + field.Tag.Get("toml")
		switch field.Type.Kind() {
		case reflect.Struct:
			names = append(names, fieldsOf(name+".", field.Type)...)
		case reflect.Slice:
			names = append(names, fieldsOf(name+"[].", field.Type.Elem())...)
		default:
			names = append(names, name)
		}
	}
	return names
}

var update = flag.Bool("update", false, "write the example file and README's table from the declarations")

func TestDocumentsSayWhatIsDeclared(t *testing.T) {
	readme := string(readDoc(t, readmePath))
	begin := strings.Index(readme, "| key | default |")
	if begin < 0 {
		t.Fatal("README.md has no table of keys")
	}
	length := strings.Index(readme[begin:], "\n\n") + 1
	want := readme[:begin] + reference() + readme[begin+length:]
	if *update {
		writeDoc(t, readmePath, want)
		writeDoc(t, examplePath, example())
	}
	const how = "; run: go test ./internal/config -run Documents -update"
	if string(readDoc(t, readmePath)) != want {
		t.Error("README.md has another table of keys" + how)
	}
	if string(readDoc(t, examplePath)) != example() {
		t.Error(examplePath + " is not the example" + how)
	}
}

// reference is README's table of keys, in Markdown.
func reference() string {
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, k := range keys {
		def := "`" + k.def + "`"
		if k.except != "" {
			def += "; " + k.except
		}
		meaning := k.meaning
		if k.name == "headers[].name" {
			meaning = headersHead + " " + meaning
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, def, meaning)
	}
	return b.String()
}

func writeDoc(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readDoc(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
