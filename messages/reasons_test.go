package messages

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryReasonIsExplained(t *testing.T) {
	seen := make(map[string]Reason)
	for _, r := range Reasons {
		if s := r.Remedy(); !strings.HasSuffix(s, ".") || strings.Contains(strings.TrimSuffix(s, "."), ". ") {
			t.Errorf("the remedy for %s is not one sentence: %q", r, s)
		}
		m := r.Meaning()
		if m == "" || strings.HasSuffix(m, ".") || strings.Contains(m, "|") {
			t.Errorf("the meaning of %s is no phrase: %q", r, m)
		}
		if other, twice := seen[m]; twice {
			t.Errorf("%s and %s mean the same", r, other)
		}
		seen[m] = r
	}
}

func TestStrangersHealByWaiting(t *testing.T) {
	for _, r := range []Reason{ReasonNone, "unheard_of"} {
		if !r.HealsByWaiting() || r.Meaning() != "" || r.Remedy() != "" {
			t.Errorf("%q: heals %v, %q, %q", r, r.HealsByWaiting(), r.Meaning(), r.Remedy())
		}
	}
}

// runbookRow is a row of the RUNBOOK's table of reasons: reason, meaning,
// whether it heals by itself, and what to do on a cluster.
var runbookRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\| (yes|no) \\| ([^|]+) \\|$")

// Whoever is paged finds every reason in the RUNBOOK, once, with the same words.
func TestTheRunbookKnowsEveryReason(t *testing.T) {
	text, err := os.ReadFile("../RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []Reason
	for _, row := range runbookRow.FindAllStringSubmatch(string(text), -1) {
		r := Reason(row[1])
		if !slices.Contains(Reasons, r) {
			continue // another table
		}
		told = append(told, r)
		heals := "no"
		if r.HealsByWaiting() {
			heals = "yes"
		}
		if row[2] != r.Meaning() || row[3] != heals {
			t.Errorf("%s means %q and heals by itself: %s; the RUNBOOK says %q, %s", r, r.Meaning(), heals, row[2], row[3])
		}
	}
	if !slices.Equal(told, Reasons) {
		t.Errorf("the RUNBOOK explains %v,\nwant %v", told, Reasons)
	}
}

// troubleCells is a row of the RUNBOOK's table of troubles.
var troubleCells = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\| .* \\|$")

func TestTheRunbookKnowsEveryTrouble(t *testing.T) {
	text, err := os.ReadFile("../RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []Trouble
	for _, row := range troubleCells.FindAllStringSubmatch(string(text), -1) {
		w := Trouble(row[1])
		if !slices.Contains(Troubles, w) {
			continue // another table
		}
		told = append(told, w)
		if row[2] != w.Meaning() {
			t.Errorf("%s means %q, the RUNBOOK says %q", w, w.Meaning(), row[2])
		}
	}
	if !slices.Equal(told, Troubles) {
		t.Errorf("the RUNBOOK explains %v,\nwant %v", told, Troubles)
	}
	for _, w := range Troubles {
		if s := w.Remedy(); !strings.HasSuffix(s, ".") || strings.Contains(strings.TrimSuffix(s, "."), ". ") {
			t.Errorf("the remedy for %s is not one sentence: %q", w, s)
		}
	}
}
