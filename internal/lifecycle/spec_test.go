package lifecycle

import (
	"os"
	"slices"
	"strings"
	"testing"

	"anthropic-oauth-proxy/messages"
)

// specTable returns the cells of the spec's table whose first column has this
// heading, the heading row first.
func specTable(t *testing.T, headings ...string) [][]string {
	t.Helper()
	spec, err := os.ReadFile("../../specs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(spec)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if rows != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case rows == nil && slices.Equal(cells[:min(len(headings), len(cells))], headings):
			rows = append(rows, cells)
		case rows != nil && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) < 2 {
		t.Fatalf("specs/lifecycle.md has no table with the columns %v", headings)
	}
	for _, r := range rows {
		if len(r) != len(rows[0]) {
			t.Fatalf("specs/lifecycle.md: row %v has %d cells, want %d", r, len(r), len(rows[0]))
		}
	}
	return rows
}

func TestSpecTable(t *testing.T) {
	rows := specTable(t, "phase", "config_loaded")
	head, rows := rows[0], rows[1:]
	kinds := head[1 : len(head)-1]
	if code := words(messages.Kinds); !slices.Equal(kinds, code) {
		t.Errorf("the spec decides %v, messages has %v", kinds, code)
	}
	if len(rows) != len(messages.Phases) {
		t.Fatalf("the spec has %d phases, messages has %d", len(rows), len(messages.Phases))
	}
	var decisions, thens []string
	for i, p := range messages.Phases {
		row := rows[i]
		if row[0] != string(p) {
			t.Errorf("row %d of the spec is %s, want %s", i+1, row[0], p)
			continue
		}
		for j, k := range kinds {
			if spec, code := row[j+1], table[p][messages.Kind(k)].name; spec != code {
				t.Errorf("%s x %s: the spec says %q, the code %q", p, k, spec, code)
			}
			decisions = append(decisions, row[j+1])
		}
		spec, code := row[len(row)-1], "-"
		if r, ok := rules[p]; ok {
			code = r.name
			thens = append(thens, code)
		}
		if spec != code {
			t.Errorf("%s, then: the spec says %q, the code %q", p, spec, code)
		}
	}
	sameWords(t, specTable(t, "decision", "meaning"), decisions)
	sameWords(t, specTable(t, "then", "meaning"), thens)
}

// sameWords fails unless the glossary explains every word once and no others.
func sameWords(t *testing.T, glossary [][]string, words []string) {
	t.Helper()
	var explained []string
	for _, row := range glossary[1:] {
		explained = append(explained, row[0])
	}
	slices.Sort(explained)
	slices.Sort(words)
	if words = slices.Compact(words); !slices.Equal(explained, words) {
		t.Errorf("the spec explains %v and uses %v", explained, words)
	}
}

func words[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}

func TestSpecWishes(t *testing.T) {
	rows := specTable(t, "phase", "wants")[1:]
	if len(rows) != len(messages.Phases) {
		t.Fatalf("the spec has wishes for %d phases, messages has %d", len(rows), len(messages.Phases))
	}
	for i, p := range messages.Phases {
		d := in(t, p).State().Desired
		var wants []string
		for _, w := range []struct {
			wanted bool
			name   string
		}{{d.Listen, "listen"}, {d.Ready, "ready"}, {d.Drain, "drain"}, {d.Stop, "stop"}} {
			if w.wanted {
				wants = append(wants, w.name)
			}
		}
		if wants == nil {
			wants = []string{"nothing"}
		}
		if code := []string{string(p), strings.Join(wants, ", ")}; !slices.Equal(rows[i], code) {
			t.Errorf("the spec says %v, the code %v", rows[i], code)
		}
	}
}

func TestSpecReasons(t *testing.T) {
	rows := specTable(t, "reason", "means")[1:]
	if len(rows) != len(messages.Reasons) {
		t.Fatalf("the spec has %d reasons, messages has %d", len(rows), len(messages.Reasons))
	}
	for i, r := range messages.Reasons {
		heals := "no"
		if r.HealsByWaiting() {
			heals = "yes"
		}
		if code := []string{string(r), r.Meaning(), heals, r.Remedy()}; !slices.Equal(rows[i], code) {
			t.Errorf("the spec says\n%q, the code\n%q", rows[i], code)
		}
	}
}

func TestSpecTroubles(t *testing.T) {
	rows := specTable(t, "trouble", "means")[1:]
	if len(rows) != len(messages.Troubles) {
		t.Fatalf("the spec has %d troubles, messages has %d", len(rows), len(messages.Troubles))
	}
	for i, w := range messages.Troubles {
		if code := []string{string(w), w.Meaning(), w.Remedy()}; !slices.Equal(rows[i], code) {
			t.Errorf("the spec says\n%q, the code\n%q", rows[i], code)
		}
	}
}
