package k8s

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// alerts are those of the overlay with two pods: there every rule can fire.
func alerts(t *testing.T) monitoring.PrometheusRuleSpec {
	t.Helper()
	m, err := load(t).Render("overlays/high-availability")
	if err != nil {
		t.Fatal(err)
	}
	var all monitoring.PrometheusRuleSpec
	for _, rules := range m.Rules {
		all.Groups = append(all.Groups, rules.Spec.Groups...)
	}
	return all
}

// every lists the rules of all groups.
func every(spec monitoring.PrometheusRuleSpec) (rules []monitoring.Rule) {
	for _, group := range spec.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// Prometheus' own test runner evaluates every alert over made-up series. Its
// expectations name labels only: the wording of an alert is nobody's contract.
func TestAlertsFireAndStaySilent(t *testing.T) {
	spec := alerts(t)
	cases, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range every(spec) {
		if n := strings.Count(string(cases), rule.Alert); n < 3 {
			t.Errorf("%s is named %d times in testdata/alerts.yaml: it needs a case that fires and one that is silent", rule.Alert, n)
		}
	}
	for _, group := range spec.Groups {
		for i := range group.Rules {
			group.Rules[i].Annotations = nil
		}
	}
	rules, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"rules.yaml": rules, "alerts.yaml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command("promtool", "test", "rules", "alerts.yaml")
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("promtool (Debian's package prometheus): %v\n%s", err, out)
	}
}
