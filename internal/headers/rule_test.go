package headers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func mustRule(t testing.TB, name, value, mode string) Rule {
	t.Helper()
	r, err := NewRule(name, value, mode)
	if err != nil {
		t.Fatalf("NewRule(%q, mode %q): %v", name, mode, err)
	}
	return r
}

func TestApply(t *testing.T) {
	const oauth = OAuthMember
	lines := func(l ...string) []string { return l }
	for _, tc := range []struct {
		name                string
		header, value, mode string
		before, after       []string
	}{
		{"merge into nothing", "anthropic-beta", oauth, "", nil, lines(oauth)},
		{"merge keeps order and bytes", "anthropic-beta", oauth, "", lines("b, a"), lines("b, a," + oauth)},
		{"merge appends to the last line", "anthropic-beta", oauth, "", lines("a", "b, c"), lines("a", "b, c,"+oauth)},
		{"merge finds a lone member", "anthropic-beta", oauth, "", lines(oauth), lines(oauth)},
		{"merge finds a trimmed member", "anthropic-beta", oauth, "", lines("a,\t " + oauth + " ,b"), lines("a,\t " + oauth + " ,b")},
		{"merge finds it in an earlier line", "anthropic-beta", oauth, "", lines("a, "+oauth, "b"), lines("a, "+oauth, "b")},
		{"merge wants the whole member", "anthropic-beta", oauth, "", lines("x-" + oauth + "-y"), lines("x-" + oauth + "-y," + oauth)},
		{"merge into an empty line", "anthropic-beta", oauth, "", lines(" "), lines(oauth)},
		{"merge after a trailing comma", "anthropic-beta", oauth, "", lines("a, "), lines("a, " + oauth)},
		{"merge adds the missing of several", "anthropic-beta", "a, " + oauth + ",a", "", lines("b,a"), lines("b,a," + oauth)},
		{"merge by request", "x-list", "b", "merge", lines("a"), lines("a,b")},
		{"set replaces all lines", "x-team", "blue", "", lines("red", "green"), lines("blue")},
		{"set adds", "x-team", "blue", "", nil, lines("blue")},
		{"set anthropic-beta when told", "anthropic-beta", oauth, "set", lines("a"), lines(oauth)},
		{"default adds", "x-team", "blue", "default", nil, lines("blue")},
		{"default yields", "x-team", "blue", "default", lines("red"), lines("red")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustRule(t, tc.header, tc.value, tc.mode)
			h := Fields{{"Other", "kept"}}
			for i, value := range tc.before {
				h = append(h, Field{spelled(tc.header, i), value})
			}
			h = r.Apply(append(h, Field{"Another", "kept too"}))
			if got := slices.Collect(h.Values(r.Name())); !slices.Equal(got, tc.after) {
				t.Errorf("got %q, want %q", got, tc.after)
			}
			if len(h) != 2+len(tc.after) || h.Get("other") != "kept" || h.Get("another") != "kept too" {
				t.Errorf("the others are %q", h)
			}
			if again := r.Apply(slices.Clone(h)); !slices.Equal(again, h) {
				t.Errorf("a second Apply changed %q into %q", h, again)
			}
		})
	}
}

func TestApplyAllocatesNothingWhenObeyed(t *testing.T) {
	for name, r := range map[string]Rule{
		"merge":   mustRule(t, BetaName, OAuthMember, "merge"),
		"set":     mustRule(t, "x-team", "blue", "set"),
		"default": mustRule(t, "x-team", "red", "default"),
		"zero":    {},
	} {
		h := Fields{{"anthropic-beta", "a, b"}, {BetaName, "c, " + OAuthMember}, {"X-TEAM", "blue"}}
		if n := testing.AllocsPerRun(100, func() { h = r.Apply(h) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func TestNewRuleRefuses(t *testing.T) {
	const secret = "hunter2"
	for _, tc := range []struct{ name, value, mode, field, says string }{
		{"", secret, "", "name", "missing"},
		{"x y", secret, "", "name", "not a header name"},
		{"x-a: " + secret, secret, "", "name", "not a header name"},
		{"x\r\ny", secret, "", "name", "not a header name"},
		{"x-é", secret, "", "name", "not a header name"},
		{"AUTHORIZATION", secret, "", "name", "authorization is the client's credential"},
		{"x-api-key", secret, "", "name", "x-api-key is the client's credential"},
		{"host", secret, "", "name", "host is taken from the upstream URL"},
		{"content-length", secret, "", "name", "content-length frames"},
		{"connection", secret, "", "name", "hop-by-hop"},
		{"Proxy-Connection", secret, "", "name", "hop-by-hop"},
		{"keep-alive", secret, "", "name", "hop-by-hop"},
		{"TE", secret, "", "name", "te is hop-by-hop"},
		{"trailer", secret, "", "name", "hop-by-hop"},
		{"transfer-encoding", secret, "", "name", "hop-by-hop"},
		{"upgrade", secret, "", "name", "hop-by-hop"},
		{"http2-settings", secret, "", "name", "hop-by-hop"},
		{"proxy-authenticate", secret, "", "name", "hop-by-hop"},
		{"proxy-authorization", secret, "", "name", "hop-by-hop"},
		{"x-a", "", "", "value", "missing"},
		{"x-a", " " + secret, "", "value", "space"},
		{"x-a", secret + "\t", "", "value", "space"},
		{"x-a", secret + "\r\nx-b: 1", "", "value", "control"},
		{"x-a", secret + "\x00.", "", "value", "control"},
		{"x-a", secret + "\x7f.", "", "value", "control"},
		{"x-a", ", ,", "merge", "value", "no member"},
		{"x-a", secret, "append", "mode", "unknown"},
		{"x-a", secret, "Merge", "mode", "unknown"},
	} {
		t.Run(fmt.Sprintf("%s/%s", tc.name, tc.says), func(t *testing.T) {
			_, err := NewRule(tc.name, tc.value, tc.mode)
			var refused *RuleError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a *RuleError", err)
			}
			if refused.Field != tc.field || !strings.Contains(refused.Problem, tc.says) || refused.Remedy == "" {
				t.Errorf("got %+v, want field %s, a problem with %q and a remedy", *refused, tc.field, tc.says)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

func TestRuleNeverPrintsItsValue(t *testing.T) {
	const secret = "hunter2"
	r := mustRule(t, "x-team", secret, "")
	inside := struct{ hidden []Rule }{[]Rule{r}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{r, &r, []Rule{r}, inside} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, secret) || strings.Contains(out, "68756e74657232") {
				t.Errorf("%s of %T prints the value: %s", verb, v, out)
			}
		}
	}
	//lint:ignore SA9005 that nothing comes out is what is tested
	if out, err := json.Marshal(r); err != nil || strings.Contains(string(out), secret) {
		t.Errorf("JSON: %s, %v", out, err)
	}
	if got := r.String(); got != "set X-Team" {
		t.Errorf("String() = %q", got)
	}
	if r.Value() != secret || (Rule{}).Value() != "" {
		t.Error("Value() does not return the value")
	}
}

func TestAddsOAuth(t *testing.T) {
	for _, tc := range []struct {
		name, header, value, mode string
		want                      bool
	}{
		{"merge", "anthropic-beta", OAuthMember, "", true},
		{"one of several", "ANTHROPIC-BETA", "a, " + OAuthMember, "", true},
		{"set", "anthropic-beta", OAuthMember, "set", true},
		{"default yields to the client's members", "anthropic-beta", OAuthMember, "default", false},
		{"another member", "anthropic-beta", "oauth-2025-04-21", "", false},
		{"another header", "x-beta", OAuthMember, "", false},
	} {
		rules := []Rule{mustRule(t, "x-a", "b", ""), mustRule(t, tc.header, tc.value, tc.mode)}
		if got := AddsOAuth(rules); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
	if AddsOAuth(nil) {
		t.Error("no rules: got true, want false")
	}
}

func BenchmarkApplyPresent(b *testing.B) {
	r := mustRule(b, BetaName, OAuthMember, "")
	h := Fields{{BetaName, "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14," + OAuthMember}}
	b.ReportAllocs()
	for b.Loop() {
		h = r.Apply(h)
	}
}
