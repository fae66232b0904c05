package proxy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/proxy/apierror"
)

// specified is a row as specs/proxy.md has it, without its second column, which
// is for people.
func specified(c cause) string {
	r := table[c]
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	status, advice, told := "the API's", "-", "-"
	if r.status != 0 {
		status = fmt.Sprint(r.status)
	}
	switch {
	case r.kind == "" && c != completed && c != clientLeft:
		told = "the answer breaks"
	case strings.Contains(r.message, "was not processed"):
		told = "was not processed"
	case strings.Contains(r.message, "may have been processed"):
		told = "may have been"
	}
	switch {
	case r.advice.Never:
		advice = "never"
	case r.advice.After > 0:
		advice = fmt.Sprintf("after %d s", r.advice.After)
	}
	var in []string
	for _, p := range r.in {
		in = append(in, string(p))
	}
	where := strings.Join(in, ", ")
	if slices.Equal(r.in, everywhere) {
		where = "any"
	}
	again := dash(string(r.repeated.reason))
	switch {
	case r.repeated.safe:
		again += ", GET and HEAD"
	case r.repeated.patient:
		again += ", for 10 s"
	}
	return strings.Join([]string{"`" + r.name + "`", status, dash(string(r.kind)), advice, told,
		string(r.outcome), dash(string(r.errorType)), string(r.by), where, again}, " | ")
}

// The table of endings and the specification are one.
func TestTheEndingsAreTheSpecifiedOnes(t *testing.T) {
	page, err := os.ReadFile("../../specs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n| cause | when |")
	if !found {
		t.Fatal("specs/proxy.md has no table of endings")
	}
	var got []string
	for _, line := range strings.Split(rest, "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) < 3 {
			break
		}
		got = append(got, strings.Join(slices.Delete(cells, 1, 2), " | "))
	}
	for c := range causes {
		if want := specified(c); int(c) >= len(got) || got[c] != want {
			line := ""
			if int(c) < len(got) {
				line = got[c]
			}
			t.Errorf("row %d is\n  %s\nspecified as\n  %s", c+1, want, line)
		}
	}
	if len(got) != int(causes) {
		t.Errorf("%d rows are specified, the table has %d", len(got), causes)
	}
}

// Every cause has all that a record needs, and says nothing that makes a client
// take us for the API.
func TestEveryCauseIsComplete(t *testing.T) {
	names := map[string]cause{}
	for c := range causes {
		r := table[c]
		if other, taken := names[r.name]; taken || r.name == "" {
			t.Errorf("cause %d has the name %q of cause %d", c, r.name, other)
		}
		names[r.name] = c
		if !slices.Contains(Outcomes, r.outcome) || !slices.Contains(Parties, r.by) || len(r.in) == 0 {
			t.Errorf("%s: outcome %q, by %q, in %q", r.name, r.outcome, r.by, r.in)
		}
		if failed := r.outcome.Failed(); failed != (r.errorType != "") || failed && !slices.Contains(ErrorTypes, r.errorType) {
			t.Errorf("%s: outcome %s with the error type %q", r.name, r.outcome, r.errorType)
		}
		if (r.kind == "") != (r.message == "") || r.kind != "" && r.status < 400 {
			t.Errorf("%s: status %d, type %q, message %q", r.name, r.status, r.kind, r.message)
		}
		if r.status == 529 || r.kind == "overloaded_error" {
			t.Errorf("%s: told as the API's own overload", r.name)
		}
		// Who may have paid is never told to pay again.
		maybe := strings.Contains(r.message, "may have been processed")
		if maybe && (r.advice != (apierror.Retry{}) || r.repeated.reason != "" && !r.repeated.safe) {
			t.Errorf("%s may have been processed: advice %+v, repeated %+v", r.name, r.advice, r.repeated)
		}
		if r.advice.After > 0 && !strings.Contains(r.message, "was not processed") {
			t.Errorf("%s asks to come again and does not say that it was not processed", r.name)
		}
		if r.advice.After > 5 {
			t.Errorf("%s asks to wait %d s: clients give up above some", r.name, r.advice.After)
		}
		// Behind a head nothing can be told.
		if r.kind != "" && slices.Equal(r.in, []Phase{InStream}) {
			t.Errorf("%s is told where nobody hears it", r.name)
		}
	}
}
