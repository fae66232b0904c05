package supervisor

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit/tailscaled"
)

const specPath = "../specs/observability.md"

// family is a metric as a scrape or the specification tells of it: its type
// and the names of its labels.
type family struct{ kind, labels string }

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	sampleLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	specRow    = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| (.*?) ?\\|")
	inCode     = regexp.MustCompile("`([^`]+)`")
)

// scraped reads /metrics: the families, and every value of every label.
func (s *stage) scraped() (map[string]family, map[string]map[string]bool) {
	s.t.Helper()
	_, page := s.page("/metrics")
	families, values := make(map[string]family), make(map[string]map[string]bool)
	for _, m := range typeLine.FindAllStringSubmatch(page, -1) {
		families[m[1]] = family{kind: m[2]}
	}
	for _, m := range sampleLine.FindAllStringSubmatch(page, -1) {
		name := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); families[base].kind == "histogram" {
				name = base
			}
		}
		var labels []string
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if pair[1] == "le" {
				continue
			}
			labels = append(labels, pair[1])
			if values[pair[1]] == nil {
				values[pair[1]] = make(map[string]bool)
			}
			values[pair[1]][pair[2]] = true
		}
		slices.Sort(labels)
		families[name] = family{families[name].kind, strings.Join(labels, ",")}
	}
	maps.DeleteFunc(families, func(name string, _ family) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") && name != "process_stalls_total"
	})
	return families, values
}

// specified reads the table of metrics.
func specified(t *testing.T) map[string]family {
	t.Helper()
	families := make(map[string]family)
	for _, row := range specRow.FindAllStringSubmatch(read(t, specPath), -1) {
		var labels []string
		for _, l := range inCode.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		families[row[1]] = family{row[2], strings.Join(labels, ",")}
	}
	return families
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What the specification promises is what a scrape gives, and nothing else.
func TestTheMetricsAreTheSpecifiedOnes(t *testing.T) {
	d := tailscaled.New(t, "Running")
	d.ExpireKey(time.Now().Add(90 * 24 * time.Hour))
	s := start(t, setting{socket: d.Socket}) // nobody is at home upstream
	if code, body, err := get("http://" + s.edge + "/v1/models"); code != 502 || err != nil {
		t.Fatalf("without an API: %d %s %v", code, body, err)
	}
	s.eventually("the request is on record", func() bool { return s.log.count("request") == 1 })
	got, values := s.scraped()
	want := specified(t)
	for name, f := range want {
		if got[name] != f {
			t.Errorf("%s is %+v, specified as %+v", name, got[name], f)
		}
	}
	for name, f := range got {
		if _, there := want[name]; !there {
			t.Errorf("%s %+v is not specified", name, f)
		}
	}
	for label, closed := range map[string][]string{
		"service":    {"conductor", "drain", "listener", "metrics", "port", "tailnet"},
		"kind":       {"config_loaded", "drain_finished", "edge_observed", "interrupted", "listener_failed", "listener_ready", "shutdown_requested", "stalled", "tailnet_observed", "ticked"},
		"supervisor": {"admin", "control", "edge", "root", "tailnet"},
		"outcome":    {"client_gone", "completed", "drained", "idle_timeout", "refused", "upstream_cut", "upstream_error"},
		"class":      {"2xx", "3xx", "429", "4xx", "529", "5xx", "api_key", "none", "oauth", "placeholder"},
		"client":     {"other"},
		"end":        {"cut", "drained", "error", "left", "message_stop", "silence", "unfinished", "unseen"},
		"action":     {"added", "appended", "off", "present", "replaced"},
		"limit":      {"input-tokens", "output-tokens", "requests", "tokens"},
		"window":     {"5h", "7d"},
		"protocol":   {"h2", "http/1.1"},
		"error_type": {"connection", "idle_timeout", "timeout", "tls", "upstream_cut"},
		"ended_by":   {"client", "proxy", "tailnet", "upstream"},
		"ended_in":   {"admit", "stream", "upload", "wait"},
	} {
		if got := slices.Sorted(maps.Keys(values[label])); !slices.Equal(got, closed) {
			t.Errorf("the label %s has the values %q, want %q", label, got, closed)
		}
	}
}

var eventNames = []*regexp.Regexp{
	regexp.MustCompile(`"event", "([a-z_]+)"`),
	regexp.MustCompile(`\.line\([^,]+, "([a-z_]+)"\)`),
	regexp.MustCompile(`(?m)^\s*event[A-Z]\w* += "([a-z_]+)"`),
}

// An event's name is what people search for: each is in the specification.
func TestEveryEventIsSpecified(t *testing.T) {
	spec := read(t, specPath)
	found := 0
	for _, p := range goList(t, module+"/...") {
		for _, file := range p.GoFiles {
			source := read(t, filepath.Join(p.Dir, file))
			for _, re := range eventNames {
				for _, m := range re.FindAllStringSubmatch(source, -1) {
					found++
					if !strings.Contains(spec, "`"+m[1]+"`") {
						t.Errorf("%s/%s logs %q, of which %s does not tell", room(p.ImportPath), file, m[1], specPath)
					}
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d events were found", found)
	}
}
