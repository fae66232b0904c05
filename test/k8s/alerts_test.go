package k8s

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	"anthropic-oauth-proxy/test/harness"
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

// caseFiles hold what promtool runs, below testdata.
var caseFiles = []string{"alerts.yaml", "alerts-week.yaml"}

// Prometheus' own test runner evaluates every alert over made-up series. Its
// expectations name labels only: the wording of an alert is nobody's contract.
func TestAlertsFireAndStaySilent(t *testing.T) {
	spec := alerts(t)
	var cases []byte
	dir := t.TempDir()
	for _, name := range caseFiles {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, text...)
	}
	for _, rule := range every(spec) {
		silent := strings.Count(string(cases), "alertname: "+rule.Alert+", exp_alerts: []")
		fires := strings.Count(string(cases), "alertname: "+rule.Alert+"\n        exp_alerts:\n")
		if silent == 0 || fires == 0 {
			t.Errorf("%s has %d cases that fire and %d that are silent", rule.Alert, fires, silent)
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
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), rules, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(harness.Tool(t, "the alerts", "promtool"), append([]string{"test", "rules"}, caseFiles...)...)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("promtool (Debian's package prometheus): %v\n%s", err, out)
	}
}
