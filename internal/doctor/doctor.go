// Package doctor looks at all that the service depends on and says what is
// wrong, what it means and what to do: the configuration, the ports, tailscaled,
// the way to the API, the machine's limits, and the proxy that runs already.
//
// It is safe beside a running instance: it binds none of its ports, changes
// nothing, sends no credential, and asks tailscaled and the API a handful of
// questions, each within a bounded time. It shows no secret.
package doctor

import (
	"context"
	"fmt"
	"net"
	"time"

	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/messages"
)

// Version is the version of the Report's JSON.
const Version = 1

// Verdict is what a check found. The set is closed.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warn    Verdict = "warn"
	Fail    Verdict = "fail"
	Skipped Verdict = "skipped" // what it needs is not there, or is not wanted
)

// Finding is one line of a Report.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Says is what was seen, Next what to do; Next and Runbook, a section of the
	// RUNBOOK, are empty when nothing is wrong.
	Says    string `json:"says"`
	Next    string `json:"next,omitempty"`
	Runbook string `json:"runbook,omitempty"`
}

// Report is what was found, and what others need to know of this node.
type Report struct {
	Version  int       `json:"version"`
	At       time.Time `json:"at"`
	Healthy  bool      `json:"healthy"` // nothing failed
	Findings []Finding `json:"findings"`
	Recipes  []Recipe  `json:"recipes"`
}

// Recipe is a text to paste somewhere.
type Recipe struct {
	Title string `json:"title"`
	Where string `json:"where"`
	Text  string `json:"text"`
}

// World is what is looked at. The zero value of every field but Config is the
// real world.
type World struct {
	// Config is the configuration, and ConfigErr why there is none: then nothing
	// else is looked at.
	Config    config.Config
	ConfigErr error
	// Resolver answers for names; nil is the system's.
	Resolver *net.Resolver
	// Classify says what an answer of tailscaled means, as the service would.
	Classify func(*ipnstate.Status, error) messages.TailnetStatus
}

// check is one thing to look at.
type check struct {
	name string
	look func(context.Context, *examination) Finding
}

// checks are in the order in which one thing needs another.
var checks = []check{
	{"running proxy", lookRunning},
	{"admin port", lookAdminPort},
	{"proxy port", lookProxyPort},
	{"tailscaled's socket", lookSocket},
	{"tailnet", lookTailnet},
	{"node name", lookName},
	{"MagicDNS", lookMagicDNS},
	{"node key", lookKey},
	{"tailscaled's version", lookVersion},
	{"tailnet paths", lookPaths},
	{"Aperture", lookAperture},
	{"name of the API", lookDNS},
	{"addresses of the API", lookAddresses},
	{"TLS to the API", lookTLS},
	{"answer of the API", lookHTTP},
	{"clock", lookClock},
	{"descriptors", lookDescriptors},
	{"memory", lookMemory},
}

// patience bounds each look.
const patience = 10 * time.Second

// Examine looks at everything, one after the other.
func Examine(ctx context.Context, w World) Report {
	r := Report{Version: Version, At: time.Now().UTC(), Healthy: true, Findings: []Finding{}, Recipes: []Recipe{}}
	note := func(name string, f Finding) {
		f.Check = name
		r.Findings = append(r.Findings, f)
		r.Healthy = r.Healthy && f.Verdict != Fail
	}
	note("configuration", lookConfiguration(w))
	if w.ConfigErr != nil {
		return r
	}
	e := &examination{World: w}
	for _, c := range checks {
		ctx, cancel := context.WithTimeout(ctx, patience)
		note(c.name, c.look(ctx, e))
		cancel()
	}
	r.Recipes = e.recipes()
	return r
}

// examination is a World and what one look found that another needs.
type examination struct {
	World
	running *snapshot // of the proxy that runs; nil when none answers

	askedTailnet bool
	status       *ipnstate.Status // with peers; nil when tailscaled did not answer
	statusErr    error
	tailnet      messages.TailnetStatus

	addresses []string // of the API, or of the egress proxy: host:port
	connected bool     // one of them answered
	secured   bool     // so did TLS, or there is none
	answered  *answer  // of the API
}

func ok(format string, args ...any) Finding {
	return Finding{Verdict: OK, Says: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Verdict: Skipped, Says: fmt.Sprintf(format, args...)}
}

func warn(says, next, runbook string) Finding {
	return Finding{Verdict: Warn, Says: says, Next: next, Runbook: runbook}
}
func fail(says, next, runbook string) Finding {
	return Finding{Verdict: Fail, Says: says, Next: next, Runbook: runbook}
}

func lookConfiguration(w World) Finding {
	if w.ConfigErr != nil {
		return fail("it is not valid: "+w.ConfigErr.Error(), "Correct the named line; `anthropic-oauth-proxy check-config` tries it again.", "CrashLoopBackOff of the proxy")
	}
	if n := len(w.Config.Warnings); n > 0 {
		f := warn(w.Config.Warnings[0], "`anthropic-oauth-proxy check-config` prints what is in force.", "")
		if n > 1 {
			f.Says += fmt.Sprintf(" (and %d more warnings)", n-1)
		}
		return f
	}
	return ok("valid, from %s", w.Config.Source)
}
