package k8s

import (
	"strings"

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
