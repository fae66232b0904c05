package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	examplePath = "../../anthropic-oauth-proxy.example.toml"
	readmePath  = "../../README.md"
)

// leaves lists every key that has a value, sorted.
func leaves() []string {
	var names []string
	for name, t := range schema {
		if t.Kind() != reflect.Struct && t.Kind() != reflect.Slice {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestExampleSpellsOutTheDefaults(t *testing.T) {
	example, err := Load(Sources{Path: examplePath, Getenv: environ()})
	if err != nil {
		t.Fatal(err)
	}
	silent := load(t, "")
	silent.Source = example.Source
	if !reflect.DeepEqual(example, silent) {
		t.Errorf("the example is\n%+v\nthe defaults are\n%+v", example, silent)
	}
}

func TestEveryKeyIsInTheExample(t *testing.T) {
	keys, err := index(examplePath, readDoc(t, examplePath))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range leaves() {
		if _, ok := keys[strings.Replace(key, "[]", "[0]", 1)]; !ok {
			t.Errorf("%s is not in %s", key, examplePath)
		}
	}
}

// The README's table has one row per key, with the default of the example.
func TestEveryKeyIsInTheReadme(t *testing.T) {
	readme, example := string(readDoc(t, readmePath)), string(readDoc(t, examplePath))
	for _, key := range leaves() {
		name := key[strings.LastIndexByte(key, '.')+1:]
		section := key[:strings.IndexAny(key, ".[")]
		_, body, _ := strings.Cut(example, "["+section+"]")
		value := regexp.MustCompile(`(?m)^` + name + ` = (.*)$`).FindStringSubmatch(body)
		if value == nil {
			t.Errorf("%s has no value in %s", key, examplePath)
			continue
		}
		if row := "| `" + key + "` | `" + value[1] + "`"; !strings.Contains(readme, row) {
			t.Errorf("README.md has no row that begins %s", row)
		}
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
