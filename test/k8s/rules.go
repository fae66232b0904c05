package k8s

import (
	"fmt"
	"strings"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
)

// checkRules wants every alert to parse and to lead somewhere.
func (m *Manifests) checkRules(r *report) {
	for _, object := range m.Rules {
		for _, group := range object.Spec.Groups {
			for _, rule := range group.Rules {
				if _, err := MetricNames(rule.Expr.String()); err != nil {
					r.add("alert %s: %v", rule.Alert, err)
				}
				m.checkPresence(r, rule)
				if rule.Labels["severity"] == "" {
					r.add("alert %s has no severity", rule.Alert)
				}
				if !strings.HasSuffix(rule.Annotations["runbook_url"], "/RUNBOOK.md#"+strings.ToLower(rule.Alert)) {
					r.add("alert %s: runbook_url does not lead to its section", rule.Alert)
				}
			}
		}
	}
}

// checkPresence wants an expression that names a namespace to name this
// install's, and one that counts pods to count this install's.
func (m *Manifests) checkPresence(r *report, rule monitoring.Rule) {
	set := m.StatefulSets[0]
	expression := rule.Expr.String()
	if _, after, ok := strings.Cut(expression, `namespace="`); ok {
		if named, _, _ := strings.Cut(after, `"`); named != set.Namespace {
			r.add("alert %s watches the namespace %q, the install is in %q", rule.Alert, named, set.Namespace)
		}
	}
	if named, ok := rule.Labels["namespace"]; ok && named != set.Namespace {
		r.add("alert %s says that it is of the namespace %q, the install is in %q", rule.Alert, named, set.Namespace)
	}
	if rule.Alert == "ProxyPodMissing" && !strings.HasSuffix(expression, fmt.Sprintf(" < %d", *set.Spec.Replicas)) {
		r.add("alert %s does not count to the StatefulSet's %d replicas: %s", rule.Alert, *set.Spec.Replicas, expression)
	}
}

// MetricNames parses a PromQL expression and returns the names of the metrics
// that it selects.
func MetricNames(expression string) ([]string, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names, nil
}
