package metrics

import (
	"net/http"
	"strings"
	"testing"

	"anthropic-oauth-proxy/messages"
)

func TestProfilesAreServedOnlyWhenAskedFor(t *testing.T) {
	s := state(messages.Running, messages.TailnetStatus{Link: messages.LinkDisabled})
	without, with := pages(&s), pages(&s)
	with.Profiles = Profiles()
	for _, tc := range []struct{ path, says string }{
		{"/debug/pprof/", "goroutine"},
		{"/debug/pprof/goroutine?debug=2", "TestProfilesAreServedOnlyWhenAskedFor"},
		{"/debug/pprof/heap?debug=1", "heap profile:"},
		{"/debug/pprof/trace?seconds=0.01", "go 1."},
	} {
		if w := ask(without.Mux(), http.MethodGet, tc.path); w.Code != http.StatusNotFound {
			t.Errorf("%s without the key: status %d", tc.path, w.Code)
		}
		if w := ask(with.Mux(), http.MethodGet, tc.path); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), tc.says) {
			t.Errorf("%s: status %d, %.200q, want %q", tc.path, w.Code, w.Body, tc.says)
		}
		if w := ask(with.Mux(), http.MethodPost, tc.path); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: status %d", tc.path, w.Code)
		}
	}
	if w := ask(with.Mux(), http.MethodGet, "/debug/pprof/cmdline"); w.Code != http.StatusNotFound {
		t.Errorf("the command line is told: %d %q", w.Code, w.Body)
	}
	for p, want := range map[*Pages]bool{without: false, with: true} {
		if w := ask(p.Mux(), http.MethodGet, "/"); strings.Contains(w.Body.String(), `"/debug/pprof/"`) != want {
			t.Errorf("the page leads to the profiles: want %t", want)
		}
	}
}
