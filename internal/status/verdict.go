package status

import (
	"fmt"
	"slices"
	"time"

	"anthropic-oauth-proxy/messages"
)

// Level says how bad it is. The set is closed.
type Level string

// The levels.
const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning" // traffic flows; somebody should look
	LevelFault   Level = "fault"   // requests fail, or cannot come
	LevelEnding  Level = "ending"  // wanted: it starts or shuts down
)

// Fault says whose it is. The set is closed.
type Fault string

// The faulty.
const (
	FaultNone    Fault = "none"
	FaultUs      Fault = "us"
	FaultTailnet Fault = "tailnet"
	FaultAPI     Fault = "api" // or the way to it
	FaultClient  Fault = "client"
)

// Finding is one thing to say of a Snapshot.
type Finding struct {
	Level Level `json:"level"`
	Fault Fault `json:"fault"`
	// Headline is one sentence: whose fault, since when, how much.
	Headline string `json:"headline"`
	// Detail says what else is known; Next is what to do now, Runbook the
	// RUNBOOK's section about it.
	Detail  string     `json:"detail,omitempty"`
	Next    string     `json:"next,omitempty"`
	Runbook string     `json:"runbook,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// Share is how many of the recent requests it concerns, 0 to 1.
	Share float64 `json:"share,omitempty"`
}

// Verdict is the worst finding, and the headlines of the others.
type Verdict struct {
	// Healthy is what the exit code of `status` says: no fault, and running.
	Healthy bool `json:"healthy"`
	Finding
	Also []string `json:"also,omitempty"`
}

// Judge says in one sentence how the service is. It looks at nothing but the
// Snapshot; the Snapshot's own Verdict is ignored.
func Judge(s Snapshot) Verdict {
	var found []Finding
	for _, look := range looks {
		if f := look(s); f != nil {
			found = append(found, *f)
		}
	}
	worst := -1
	for i, f := range found {
		if worst < 0 || f.Level != LevelWarning && found[worst].Level == LevelWarning {
			worst = i
		}
	}
	if worst < 0 {
		return Verdict{Healthy: true, Finding: healthy(s)}
	}
	v := Verdict{Healthy: found[worst].Level == LevelWarning, Finding: found[worst]}
	if v.Healthy {
		v.Headline = "Healthy, but " + v.Headline
	} else {
		v.Headline = capital(v.Headline)
	}
	for i, f := range found {
		if i != worst {
			v.Also = append(v.Also, capital(f.Headline))
		}
	}
	return v
}

// looks are what is looked for, causes before what follows from them: the
// first fault is the verdict.
var looks = []func(Snapshot) *Finding{
	lookStuck, lookEnd, lookTailnetLost, lookTrouble, lookPort, lookServices, lookStart, lookAPI, lookSilence, lookOurs, lookFull,
	lookPlaceholders, lookClients, lookStall, lookLog, lookImpaired, lookName,
}

func healthy(s Snapshot) Finding {
	f := Finding{Level: LevelOK, Fault: FaultNone}
	e := s.Traffic.Endings
	switch {
	case e.Total == 0 && s.Load.Active == 0:
		f.Headline = "Healthy: nothing is wrong, and nobody has asked for anything in the last 15 minutes."
	case e.Total == 0:
		f.Headline = fmt.Sprintf("Healthy: %s in flight, none has ended in the last 15 minutes.", count(s.Load.Active, "request"))
	default:
		f.Headline = fmt.Sprintf("Healthy: %s in the last 15 minutes, %s of them answered whole.", count(int(e.Total), "request"), percent(e.Whole, e.Total))
	}
	switch s.Tailnet.Link {
	case messages.LinkDisabled:
		f.Detail = "The tailnet is not watched (mode = \"off\"); every service runs."
	case messages.LinkConnected:
		f.Detail = "The tailnet is connected and every service runs."
	}
	return f
}

const runbookWhose = "Is it us, the tailnet, or Anthropic?"

// lookStuck: a conductor that has fallen silent makes everything it ever said
// worthless.
func lookStuck(s Snapshot) *Finding {
	if !s.Lifecycle.Stuck {
		return nil
	}
	since := s.At.Add(-seconds(s.Lifecycle.SilentSeconds))
	return &Finding{
		Level: LevelFault, Fault: FaultUs, Since: &since, Runbook: "ProxyProcessRestarting",
		Headline: fmt.Sprintf("our fault: the conductor is stuck since %s; what is said of the tailnet and the lifecycle is old.", clock(s.At, since)),
		Next:     "The process ends itself and is started again. If it does not: kubectl delete pod, and keep the goroutine dump on stderr.",
	}
}

func lookEnd(s Snapshot) *Finding {
	since := s.Lifecycle.Since
	switch s.Lifecycle.Phase {
	case messages.Draining:
		f := &Finding{Level: LevelEnding, Fault: FaultNone, Since: &since, Runbook: "ProxyDrainNearDeadline",
			Headline: fmt.Sprintf("shutting down since %s, as it was asked to.", clock(s.At, since))}
		if d := s.Drain; d != nil {
			f.Headline = fmt.Sprintf("shutting down, as it was asked to: %s %s until %s (%s more) to finish.",
				count(d.Left, "request"), plural(d.Left, "has", "have"), clock(s.At, d.By), span(max(0, d.By.Sub(s.At))))
		}
		return f
	case messages.Stopped:
		f := &Finding{Level: LevelEnding, Fault: FaultNone, Since: &since, Headline: "stopped.", Detail: s.Lifecycle.ExitMessage}
		if s.Lifecycle.ExitCode != 0 {
			f.Level, f.Fault, f.Runbook = LevelFault, FaultUs, "CrashLoopBackOff of the proxy"
			f.Headline = fmt.Sprintf("our fault: the service has given up, with exit code %d.", s.Lifecycle.ExitCode)
		}
		return f
	}
	return nil
}

func lookTailnetLost(s Snapshot) *Finding {
	t := s.Tailnet
	if s.Lifecycle.Stuck || t.Link == messages.LinkConnected || t.Link == messages.LinkDisabled {
		return nil
	}
	f := &Finding{Level: LevelFault, Fault: FaultTailnet, Since: t.Since, Next: t.Remedy, Runbook: "ProxyTailnetNotConnected"}
	if t.Link == messages.LinkUnknown {
		f.Level, f.Headline = LevelEnding, "the tailnet has not been looked at yet."
		return f
	}
	since := ""
	if t.Since != nil {
		since = " since " + clock(s.At, *t.Since)
	}
	why := string(t.Reason)
	if t.Meaning != "" {
		why = fmt.Sprintf("%s (%s)", t.Meaning, t.Reason)
	}
	f.Headline = fmt.Sprintf("the tailnet is gone%s: %s.", since, why)
	f.Detail = "Peers cannot reach us; streams that are open may go on."
	if t.Reason == messages.ReasonOwnLimits {
		f.Fault, f.Headline, f.Detail = FaultUs, fmt.Sprintf("our fault%s: %s.", since, why), "Nothing is known of the tailnet."
	}
	if t.Detail != "" {
		f.Detail += " tailscaled says: " + t.Detail
	}
	switch s.Lifecycle.Phase {
	case messages.Initializing, messages.ConnectingTailnet:
		f.Headline = fmt.Sprintf("starting: the tailnet is not there yet: %s.", why)
	case messages.Draining, messages.Stopped:
		f.Level = LevelWarning
	}
	return f
}

// lookTrouble: what the machine itself found to be wrong with us.
func lookTrouble(s Snapshot) *Finding {
	l := s.Lifecycle
	if l.Trouble == messages.TroubleNone || l.Stuck || l.Phase == messages.Stopped {
		return nil
	}
	since := ""
	if l.TroubleSince != nil {
		since = " since " + clock(s.At, *l.TroubleSince)
	}
	return &Finding{
		Level: LevelFault, Fault: FaultUs, Since: l.TroubleSince, Runbook: "ProxyServiceRestarting", Next: l.TroubleRemedy,
		Headline: fmt.Sprintf("our fault%s: %s.", since, l.TroubleMeaning), Detail: l.TroubleDetail,
	}
}

// stallShown is how long a stall that is over is worth a word.
const stallShown = 5 * time.Minute

func lookStall(s Snapshot) *Finding {
	l := s.Lifecycle
	if l.StalledAt == nil || s.At.Sub(*l.StalledAt) > stallShown {
		return nil
	}
	return &Finding{
		Level: LevelWarning, Fault: FaultUs, Since: l.StalledAt, Runbook: runbookWhose,
		Headline: fmt.Sprintf("the process stood still for %s until %s.", span(seconds(l.StalledSeconds)), clock(s.At, *l.StalledAt)),
		Next:     "Look for a CPU limit that throttles the pod, a node that was frozen or swaps, or a SIGSTOP.",
	}
}

func lookPort(s Snapshot) *Finding {
	if s.Lifecycle.Trouble != messages.TroubleNone || s.Port.Serving || !s.Port.Wanted || s.Lifecycle.Phase == messages.Starting || s.Lifecycle.Phase == messages.Draining {
		return nil
	}
	f := &Finding{
		Level: LevelFault, Fault: FaultUs, Runbook: "ProxyListenerNotServing", Since: s.Port.Since,
		Headline: fmt.Sprintf("our fault: nobody serves the proxy port %s.", s.Port.Addr),
		Detail:   "The admin port answers, as you see; clients get no answer.",
		Next:     "Read the service listener's last cause below, and the log lines with \"service\":\"listener\".",
	}
	if t := s.Port.Trouble; t != messages.TroubleNone {
		f.Headline = fmt.Sprintf("our fault: nobody new is served%s: %s.", sinceWhen(s.At, s.Port.Since), t.Meaning())
		f.Detail, f.Next = s.Port.Detail, t.Remedy()
	}
	return f
}

// sinceWhen is " since 12:00:00 UTC", or nothing when nobody knows.
func sinceWhen(now time.Time, since *time.Time) string {
	if since == nil {
		return ""
	}
	return " since " + clock(now, *since)
}

// storm is how many restarts in a minute are one.
const storm = 3

func lookServices(s Snapshot) *Finding {
	for _, d := range s.Tree {
		for _, service := range d.Services {
			if service.Up && service.LastMinute < storm && !d.BackingOff {
				continue
			}
			f := &Finding{Level: LevelFault, Fault: FaultUs, Runbook: "ProxyServiceRestarting",
				Next: fmt.Sprintf("Look for \"service\":%q in the log: service_panic has the stack.", service.Name)}
			var last string
			if len(service.Causes) > 0 {
				c := service.Causes[0]
				f.Since, last = &c.At, fmt.Sprintf(", the last by %s at %s", c.Kind, clock(s.At, c.At))
				f.Detail = c.Text
			}
			switch {
			case d.BackingOff && (service.LastMinute > 0 || !service.Up):
				f.Runbook = "ProxySupervisorBackoff"
				f.Headline = fmt.Sprintf("our fault: the service %s keeps failing; its supervisor pauses (%s%s).", service.Name, count(service.Restarts, "restart"), last)
			case service.LastMinute >= storm:
				f.Headline = fmt.Sprintf("our fault: the service %s keeps failing (%s in the last minute%s).", service.Name, count(service.LastMinute, "restart"), last)
			case !service.Up && s.Lifecycle.Phase != messages.Stopped:
				f.Headline = fmt.Sprintf("our fault: the service %s does not run (%s%s).", service.Name, count(service.Restarts, "restart"), last)
			default:
				continue
			}
			return f
		}
	}
	return nil
}

func lookStart(s Snapshot) *Finding {
	switch s.Lifecycle.Phase {
	case messages.Initializing, messages.ConnectingTailnet, messages.Starting:
		since := s.Lifecycle.Since
		return &Finding{Level: LevelEnding, Fault: FaultNone, Since: &since,
			Headline: fmt.Sprintf("starting since %s: the phase is %s.", clock(s.At, since), words(string(s.Lifecycle.Phase)))}
	}
	return nil
}

func lookImpaired(s Snapshot) *Finding {
	// Another name is lookName's to tell.
	impaired := slices.DeleteFunc(slices.Clone(s.Tailnet.Impaired), func(i messages.Impairment) bool { return i == messages.ImpairedNameDiffers })
	if len(impaired) == 0 || s.Lifecycle.Stuck {
		return nil
	}
	f := &Finding{Level: LevelWarning, Fault: FaultTailnet, Runbook: "ProxyTailnetImpaired", Detail: s.Tailnet.Detail,
		Headline: fmt.Sprintf("the tailnet is impaired: %s.", list(impaired))}
	for _, i := range impaired {
		if i == messages.ImpairedKeyExpiring && s.Tailnet.KeyExpiry != nil {
			f.Headline = fmt.Sprintf("the node's key expires in %s (%s).", span(s.Tailnet.KeyExpiry.Sub(s.At)), s.Tailnet.KeyExpiry.UTC().Format(time.RFC3339))
			f.Runbook, f.Next = "ProxyTailnetKeyExpiring", "Disable key expiry for the node in the admin console, or log it in again before that."
		}
	}
	return f
}

func lookName(s Snapshot) *Finding {
	if !s.Tailnet.NameDiffers() {
		return nil
	}
	return &Finding{Level: LevelWarning, Fault: FaultTailnet, Runbook: "The name anthropic-oauth-proxy does not resolve, or leads elsewhere",
		Headline: fmt.Sprintf("the node is named %s, not %s as configured: clients that use the configured name do not come here.", s.Tailnet.Hostname, s.Tailnet.Expected),
		Next:     "Remove the old machine of that name in the Tailscale admin console, then rename this one."}
}

// stalled is how long stdout may take nothing before it is worth a word, and
// how long a lost line is.
const (
	stalled = 2 * time.Second
	missed  = time.Minute
)

func lookLog(s Snapshot) *Finding {
	l := s.Log
	if l == nil {
		return nil
	}
	f := &Finding{Level: LevelWarning, Fault: FaultUs, Runbook: runbookWhose,
		Detail: fmt.Sprintf("Traffic does not wait for the log. Lost since the start: %s.", count(int(l.Dropped), "line")),
		Next:   "See whether the container runtime or the log collector on this node is stuck."}
	switch {
	case seconds(l.StalledSeconds) >= stalled:
		since := s.At.Add(-seconds(l.StalledSeconds))
		f.Since = &since
		f.Headline = fmt.Sprintf("stdout has taken no log line for %s.", span(seconds(l.StalledSeconds)))
	case l.LastDrop != nil && s.At.Sub(*l.LastDrop) < missed:
		f.Since = l.LastDrop
		f.Headline = fmt.Sprintf("log lines are lost, the last one %s ago: stdout is too slow.", span(s.At.Sub(*l.LastDrop)))
	default:
		return nil
	}
	return f
}
