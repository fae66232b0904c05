package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	instrument "anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/testkit"
)

// The exit code is the verdict's, and what does not understand the question is
// nobody.
func TestStatus(t *testing.T) {
	healthy := instrument.Snapshot{Version: instrument.Version, Verdict: instrument.Verdict{Healthy: true, Finding: instrument.Finding{Level: instrument.LevelOK, Headline: "Healthy: all is well."}}}
	faulty := healthy
	faulty.Verdict = instrument.Verdict{Finding: instrument.Finding{Level: instrument.LevelFault, Headline: "Not us: it is the API.", Next: "Wait."}}
	newer := healthy
	newer.Version++
	for _, tc := range []struct {
		name   string
		answer any
		status int
		code   int
		says   string
	}{
		{"healthy", healthy, 200, 0, "[ok] Healthy: all is well."},
		{"faulty", faulty, 200, 1, "[FAULT] Not us: it is the API."},
		{"newer", newer, 200, 2, "not a status of version 1"},
		{"another page", "hello", 200, 2, "not a status of version 1"},
		{"no such page", healthy, 404, 2, "it answered 404"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/debug/status" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(tc.status)
				_ = json.NewEncoder(w).Encode(tc.answer)
			}))
			defer server.Close()
			addr := server.Listener.Addr().String()
			var out, errs testkit.Buffer
			if code := run([]string{"status", "--admin", addr}, none, &out, &errs); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if all := out.String() + errs.String(); !strings.Contains(all, tc.says) || strings.Contains(all, "\x1b") {
				t.Errorf("it says %q, want %q and no colour", all, tc.says)
			}
			out, errs = testkit.Buffer{}, testkit.Buffer{}
			if code := run([]string{"status", "--json", "--admin", addr}, none, &out, &errs); code != tc.code {
				t.Errorf("--json: exit code %d, want %d", code, tc.code)
			}
			var back instrument.Snapshot
			if err := json.Unmarshal([]byte(out.String()), &back); tc.code < 2 && (err != nil || back.Verdict.Healthy != (tc.code == 0)) {
				t.Errorf("--json: %v: %s", err, out.String())
			}
		})
	}
}
