package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README tells of every variable that the recipe for Claude Code sets.
func TestTheReadmeKnowsTheRecipe(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## What Claude Code loses behind any base URL\n")
	section, _, _ = strings.Cut(section, "\n## ")
	recipe := (&examination{}).recipes()[0]
	if !found || recipe.Title != "Claude Code" {
		t.Fatalf("the section is there: %v; the recipe is for %s", found, recipe.Title)
	}
	for line := range strings.Lines(recipe.Text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "ANTHROPIC_BASE_URL=") && !strings.Contains(section, "`"+line+"`") {
			t.Errorf("the README does not tell of %s", line)
		}
	}
}

// A subscription's token is for Anthropic's own applications: no document of
// ours hands it to a bare command.
func TestNoDocumentSpendsASubscription(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"../../*.md", "../../specs/*.md", "../../k8s/*.md", "../../examples/*.*", "../../examples/*/*.*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	spends := regexp.MustCompile(`(?i)curl[^|]*?(OAUTH_TOKEN|sk-ant-oat|authorization: bearer)`)
	for _, name := range documents {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "\n\n") {
			if m := spends.FindString(block); m != "" {
				t.Errorf("%s: %q", name, m)
			}
		}
	}
	if len(documents) < 10 {
		t.Errorf("only %d documents were read", len(documents))
	}
}
