package metrics

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/messages"
)

// Pages are the admin pages' sources. Every function may be called from any
// goroutine and answers at once.
type Pages struct {
	State    func() messages.State
	Totals   func() (served, failed uint64)
	Tree     func() any // the supervisor's accounts, as JSON shows them
	Events   func() any // the journal, as JSON shows it
	Feed     *status.Feed
	Started  time.Time
	Gatherer prometheus.Gatherer
	Log      zerolog.Logger
	Profiles http.Handler // nil unless they were asked for, see [Profiles]
}

// Health is the handler of /health, for both ports.
func (p *Pages) Health() http.Handler { return readOnly(http.HandlerFunc(p.health)) }

// Metrics is the handler of /metrics, for both ports.
func (p *Pages) Metrics() http.Handler {
	return readOnly(promhttp.HandlerFor(p.Gatherer, promhttp.HandlerOpts{
		ErrorLog: telemetry.StandardLog(p.Log, "metrics"),
		// A scrape must not be what makes memory grow.
		MaxRequestsInFlight: 8,
	}))
}

// Mux is the whole admin port.
func (p *Pages) Mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/health", p.Health())
	mux.Handle("/metrics", p.Metrics())
	mux.Handle("/events", readOnly(p.Feed))
	for path, page := range map[string]http.HandlerFunc{
		"/livez": p.livez, "/readyz": p.readyz, "/{$}": p.page,
		"/debug/status":  p.json(func() any { return p.Feed.Snapshot() }),
		"/debug/tree":    p.json(p.Tree),
		"/debug/streams": p.json(func() any { return p.Feed.Snapshot().Streams }),
		"/debug/events":  p.json(p.Events),
	} {
		mux.Handle(path, readOnly(page))
	}
	if p.Profiles != nil {
		mux.Handle(profilesPath, readOnly(p.Profiles))
	}
	return mux
}

// links are what the page leads to.
var links = []string{"/health", "/readyz", "/livez", "/metrics", "/debug/status", "/debug/tree", "/debug/streams", "/debug/events"}

func (p *Pages) links() []string {
	if p.Profiles != nil {
		return append(slices.Clip(links), profilesPath)
	}
	return links
}

func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // an old answer is a wrong one
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeText(w, http.StatusMethodNotAllowed, "use GET or HEAD\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// page is the one for a person: the answer to "is it us, the tailnet, Anthropic
// or a client?".
func (p *Pages) page(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := p.Feed.Snapshot().WritePage(&b, p.links()); err != nil {
		http.Error(w, "render page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", status.ContentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(b.Bytes())
}

func (p *Pages) json(of func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, of()) }
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "render page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
