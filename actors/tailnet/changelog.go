package tailnet

import (
	"slices"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/messages"
)

// A tailscaled that flaps changes several times a second: logBurst lines come
// at once, then one per logRefill with the number of changes left out.
const (
	logBurst  = 12
	logRefill = 5 * time.Second
)

// changeLog writes a line when an observation differs from the last one
// written, and never one per poll. Only the poll loop uses it.
type changeLog struct {
	log    zerolog.Logger
	expect string // the hostname of the configuration

	written messages.TailnetStatus
	seen    messages.TailnetStatus
	skipped int
	spent   int
	refill  time.Time
}

func (c *changeLog) observe(s messages.TailnetStatus) {
	if !same(s, c.seen) {
		c.seen = s
		c.skipped++
	}
	if same(s, c.written) || !c.allowed(s.At) {
		return
	}
	ev := c.log.Info()
	if s.Link != messages.LinkConnected || len(s.Impaired) > 0 {
		ev = c.log.Warn()
	}
	ev.Str("event", "tailnet_changed").Str("tailnet", string(s.Link)).
		Str("tailnet_reason", string(s.Reason)).Str("backend_state", s.Backend).
		Strs("tailnet_impaired", names(s.Impaired)).Str("detail", s.Detail).
		Str("tailnet_hostname", s.Hostname).Str("tailnet_ip", s.IP).
		Int("changes_unlogged", c.skipped-1).Msg(sentence(s))
	if s.Link == messages.LinkConnected && c.expect != "" && s.Hostname != c.expect && s.Hostname != c.written.Hostname {
		c.log.Warn().Str("event", "tailnet_hostname_differs").Str("tailnet_hostname", s.Hostname).
			Str("expected", c.expect).Msg("the node has another name than the configuration expects")
	}
	c.written, c.skipped = s, 0
}

// allowed spends one line of the budget, if there is one.
func (c *changeLog) allowed(now time.Time) bool {
	for c.spent > 0 && !now.Before(c.refill) {
		c.spent--
		c.refill = c.refill.Add(logRefill)
	}
	if c.spent >= logBurst {
		return false
	}
	if c.spent == 0 {
		c.refill = now.Add(logRefill)
	}
	c.spent++
	return true
}

// same ignores when it was seen, and the wording: a warning that counts seconds
// in its text is not news.
func same(a, b messages.TailnetStatus) bool {
	return a.Link == b.Link && a.Reason == b.Reason && a.Backend == b.Backend &&
		a.Hostname == b.Hostname && a.IP == b.IP && slices.Equal(a.Impaired, b.Impaired)
}

func names(list []messages.Impairment) []string {
	out := make([]string, len(list))
	for i, imp := range list {
		out[i] = string(imp)
	}
	return out
}

func sentence(s messages.TailnetStatus) string {
	switch {
	case s.Link == messages.LinkConnected && len(s.Impaired) > 0:
		return "the tailnet is connected but impaired"
	case s.Link == messages.LinkConnected:
		return "the tailnet is connected"
	default:
		return "the tailnet is not connected"
	}
}
