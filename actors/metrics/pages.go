package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/messages"
)

// Pages are the admin pages' sources. Every function may be called from any
// goroutine and answers at once.
type Pages struct {
	State    func() messages.State
	Totals   func() (served, failed uint64)
	Load     func() (active, waiting int)
	Tree     func() any // the supervisor tree, as JSON shows it
	Started  time.Time
	Version  string
	Gatherer prometheus.Gatherer
	Log      zerolog.Logger
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
	mux.Handle("/livez", readOnly(http.HandlerFunc(p.livez)))
	mux.Handle("/readyz", readOnly(http.HandlerFunc(p.readyz)))
	mux.Handle("/debug/tree", readOnly(http.HandlerFunc(p.tree)))
	mux.Handle("/{$}", readOnly(http.HandlerFunc(p.status)))
	return mux
}

func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // an old answer is a wrong one
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeText(w, http.StatusMethodNotAllowed, "use GET or HEAD\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Pages) tree(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, p.Tree()) }

// status is the page for a person: the answer to "is it us, the tailnet or
// Anthropic?", as far as this process can tell.
func (p *Pages) status(w http.ResponseWriter, _ *http.Request) {
	s := p.State()
	h := healthOf(s, time.Now())
	served, failed := p.Totals()
	active, waiting := p.Load()
	tree, _ := json.MarshalIndent(p.Tree(), "", "  ")
	var b bytes.Buffer
	row := func(name string, value any) {
		fmt.Fprintf(&b, "<tr><th>%s</th><td>%s</td></tr>\n", name, html.EscapeString(fmt.Sprint(value)))
	}
	b.WriteString("<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>anthropic-oauth-proxy</title>\n" +
		"<style>body{font:15px system-ui;margin:2em}th{text-align:left;padding-right:2em}</style>\n" +
		"<h1>anthropic-oauth-proxy</h1><table>\n")
	row("status", h.Status)
	row("state", fmt.Sprintf("%s, for %s", s.Phase, time.Since(s.Since).Round(time.Second)))
	row("tailnet", h.Tailnet)
	row("reason", h.Reason)
	row("detail", h.Detail)
	row("impaired", h.Impaired)
	row("name and address", h.Hostname+" "+h.IP)
	row("requests in flight, waiting", fmt.Sprintf("%d, %d", active, waiting))
	row("requests served, failed", fmt.Sprintf("%d, %d", served, failed))
	row("up for", time.Since(p.Started).Round(time.Second))
	row("version", p.Version)
	b.WriteString("</table><h2>Supervisor tree</h2><pre>" + html.EscapeString(string(tree)) + "</pre>\n" +
		`<p><a href="/health">/health</a> <a href="/metrics">/metrics</a> <a href="/livez">/livez</a> <a href="/readyz">/readyz</a> <a href="/debug/tree">/debug/tree</a></p>` + "\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}
