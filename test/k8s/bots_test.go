package k8s

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// renovate is what the tests read of Renovate's configuration.
type renovate struct {
	CustomManagers []struct{ MatchStrings []string }
	PackageRules   []struct {
		MatchPackageNames, MatchManagers []string
		Enabled, PinDigests              *bool
	}
}

func readRenovate(t *testing.T) (r renovate) {
	t.Helper()
	data, err := os.ReadFile(repository + "/.github/renovate.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// An image's name and tag are written by Flux where they carry its marker, and by
// Renovate elsewhere; a digest beside a tag that is moved would go on running the
// old image.
func TestOneBotWritesEachField(t *testing.T) {
	r := readRenovate(t)
	ours, kustomize := false, false
	for _, rule := range r.PackageRules {
		ours = ours || slices.Contains(rule.MatchPackageNames, "ghcr.io/**/anthropic-oauth-proxy") && rule.Enabled != nil && !*rule.Enabled
		kustomize = kustomize || slices.Contains(rule.MatchManagers, "kustomize") && rule.PinDigests != nil && !*rule.PinDigests
	}
	if !ours || !kustomize {
		t.Errorf("Renovate leaves our image alone: %t; pins no digest in a kustomization: %t", ours, kustomize)
	}
	tree := load(t)
	for _, dir := range []string{"base", "../examples/second-install"} {
		text, err := tree.Read(dir + "/kustomization.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var kustomization struct {
			Images []struct{ Name, Digest string }
		}
		if err := yaml.Unmarshal([]byte(text), &kustomization); err != nil {
			t.Fatal(err)
		}
		for _, image := range kustomization.Images {
			if image.Digest != "" {
				t.Errorf("%s pins a digest of %s beside a tag that a bot moves", dir, image.Name)
			}
		}
	}
}

// Renovate moves the list of known actions with the workflows: its pattern must
// find every line.
func TestRenovateFindsEveryAction(t *testing.T) {
	list, err := os.ReadFile(repository + "/.github/actions.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(list)) {
		if !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	managers := readRenovate(t).CustomManagers
	if len(managers) != 1 || len(managers[0].MatchStrings) != 1 {
		t.Fatalf("managers: %+v", managers)
	}
	if found := regexp.MustCompile(managers[0].MatchStrings[0]).FindAllString(string(list), -1); len(found) != lines || lines == 0 {
		t.Errorf("Renovate finds %d of %d actions: %q", len(found), lines, found)
	}
}
