package k8s

import (
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The dashboard is what Grafana's own types know, down to the options of each
// panel: an unknown or misspelt field is an error.
func TestDashboardIsWhatGrafanaUnderstands(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := load(t).Read("components/alerts/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	// Its errors are lists that may be empty and yet not nil.
	read := func(text string) (wrong string) {
		//lint:ignore SA1019 the newer schema is not what dashboard sidecars import
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict([]byte(text)); err != nil {
			wrong = err.Error()
		}
		if err := d.Validate(); wrong == "" && err != nil {
			wrong = err.Error()
		}
		return wrong
	}
	if wrong := read(text); wrong != "" {
		t.Error(wrong)
	}
	for _, broken := range []string{`"colorMode"`, `"displayMode"`, `"fillOpacity"`, `"gridPos"`, `"legendFormat"`} {
		if read(strings.Replace(text, broken, `"misspelt"`, 1)) == "" {
			t.Errorf("a dashboard without %s passes", broken)
		}
	}
}
