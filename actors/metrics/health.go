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
	DNSName  string `json:"tailnet_dns_name,omitempty"`
	IP       string `json:"tailnet_ip,omitempty"`
	// Reason says why the tailnet is not connected, Detail in tailscaled's own
	// words; Since is when it was last gained or lost.
	Reason   messages.Reason       `json:"tailnet_reason,omitempty"`
	Detail   string                `json:"tailnet_detail,omitempty"`
	Since    *time.Time            `json:"tailnet_since,omitempty"`
	Impaired []messages.Impairment `json:"tailnet_impaired,omitempty"`
	// KeyExpiry is when the node key expires.
	KeyExpiry *time.Time `json:"tailnet_key_expiry,omitempty"`
	// Trouble is what is wrong with ourselves, with more words for a person and
	// since when.
	Trouble       messages.Trouble `json:"trouble,omitempty"`
	TroubleDetail string           `json:"trouble_detail,omitempty"`
	TroubleSince  *time.Time       `json:"trouble_since,omitempty"`
	// StalledAt is when the process last came back from standing still, and
	// StalledMS for how long it had, in milliseconds.
	StalledAt *time.Time `json:"stalled_at,omitempty"`
	StalledMS int64      `json:"stalled_ms,omitempty"`
	Uptime    int64      `json:"uptime_seconds"`
	Served    uint64     `json:"requests_served"`
	ErrorsAll uint64     `json:"errors_total"`
}

// healthOf computes health from the newest state. A conductor that has fallen
// silent makes everything it ever said worthless; that is our fault, and
// nothing is said of the tailnet then.
func healthOf(s messages.State, now time.Time) Health {
	h := Health{
		Status: "degraded", State: string(s.Phase), Tailnet: string(messages.LinkNotConnected),
		Hostname: s.Tailnet.Hostname, DNSName: s.Tailnet.DNSName, IP: s.Tailnet.IP,
		Since: moment(s.TailnetSince), KeyExpiry: moment(s.Tailnet.KeyExpiry),
		Reason: s.Tailnet.Reason, Detail: s.Tailnet.Detail, Impaired: s.Tailnet.Impaired,
		Trouble: s.Trouble, TroubleDetail: s.TroubleDetail, TroubleSince: moment(s.TroubleSince),
		StalledAt: moment(s.StalledAt), StalledMS: s.StalledFor.Milliseconds(),
	}
	if now.Sub(s.TickedAt) >= StuckAfter {
		h.Tailnet, h.Reason, h.Detail, h.Impaired = tailnetUnknown, messages.ReasonNone, "", nil
		h.Trouble, h.TroubleDetail, h.TroubleSince = messages.TroubleConductorStuck,
			messages.TroubleConductorStuck.Meaning()+"; nothing else is known", moment(s.TickedAt)
		return h
	}
	if s.Tailnet.Link == messages.LinkConnected || s.Tailnet.Link == messages.LinkDisabled {
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

// tailnetUnknown is what health says of the tailnet while nobody here can tell.
const tailnetUnknown = "unknown"

// moment is nil for a time that never was.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
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
		why := string(s.Phase)
		if t := healthOf(s, time.Now()).Trouble; t != messages.TroubleNone {
			why += ", " + string(t)
		}
		writeText(w, http.StatusServiceUnavailable, "not ready: "+why+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}
