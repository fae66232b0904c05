package metrics

import (
	"net/http"
	"time"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/messages"
)

// StuckAfter is the conductor's longest silence: see [status.StuckAfter].
const StuckAfter = status.StuckAfter

// Health is the JSON of /health. The key names are a contract.
type Health struct {
	Status   string `json:"status"` // healthy, degraded or draining
	State    string `json:"state"`  // the lifecycle's
	Tailnet  string `json:"tailnet"`
	Hostname string `json:"tailnet_hostname,omitempty"`
	IP       string `json:"tailnet_ip,omitempty"`
	// Reason says why the tailnet is not connected, Detail in tailscaled's own
	// words; Since is when it was last gained or lost.
	Reason    messages.Reason       `json:"tailnet_reason,omitempty"`
	Detail    string                `json:"tailnet_detail,omitempty"`
	Since     *time.Time            `json:"tailnet_since,omitempty"`
	Impaired  []messages.Impairment `json:"tailnet_impaired,omitempty"`
	Uptime    int64                 `json:"uptime_seconds"`
	Served    uint64                `json:"requests_served"`
	ErrorsAll uint64                `json:"errors_total"`
}

// healthOf computes health from the newest state. A conductor that has fallen
// silent makes everything it ever said worthless.
func healthOf(s messages.State, now time.Time) Health {
	h := Health{
		Status: "degraded", State: string(s.Phase), Tailnet: string(messages.LinkNotConnected),
		Hostname: s.Tailnet.Hostname, IP: s.Tailnet.IP,
		Reason: s.Tailnet.Reason, Detail: s.Tailnet.Detail, Impaired: s.Tailnet.Impaired,
	}
	if !s.TailnetSince.IsZero() {
		since := s.TailnetSince.UTC()
		h.Since = &since
	}
	switch {
	case now.Sub(s.TickedAt) >= StuckAfter:
		h.Reason, h.Detail, h.Impaired = messages.ReasonStale, "the conductor is stuck; nothing is known", nil
		return h
	case s.Tailnet.Link == messages.LinkConnected, s.Tailnet.Link == messages.LinkDisabled:
		h.Tailnet = string(s.Tailnet.Link)
	}
	switch {
	case s.Phase == messages.Draining, s.Phase == messages.Stopped:
		h.Status = "draining"
	case s.Desired.Ready:
		h.Status = "healthy"
	}
	return h
}

func (p *Pages) health(w http.ResponseWriter, r *http.Request) {
	h := healthOf(p.State(), time.Now())
	h.Uptime = int64(time.Since(p.Started).Seconds())
	h.Served, h.ErrorsAll = p.Totals()
	code := http.StatusServiceUnavailable
	if h.Status == "healthy" {
		code = http.StatusOK
	}
	writeJSON(w, code, h)
}

// livez is about the process and its supervisor, nothing else: a restart does
// not mend a tailnet.
func (p *Pages) livez(w http.ResponseWriter, _ *http.Request) {
	if silent := time.Since(p.State().TickedAt); silent >= StuckAfter {
		writeText(w, http.StatusServiceUnavailable, "the conductor is stuck\n")
		return
	}
	writeText(w, http.StatusOK, "ok\n")
}

func (p *Pages) readyz(w http.ResponseWriter, _ *http.Request) {
	s := p.State()
	if !s.Desired.Ready || time.Since(s.TickedAt) >= StuckAfter {
		writeText(w, http.StatusServiceUnavailable, "not ready: "+string(s.Phase)+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}
