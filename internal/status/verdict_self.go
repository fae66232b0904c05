package status

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

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

// lookTrouble: what the machine itself found to be wrong with us.
func lookTrouble(s Snapshot) *Finding {
	l := s.Lifecycle
	if l.Trouble == messages.TroubleNone || l.Stuck || l.Phase == messages.Stopped {
		return nil
	}
	return &Finding{
		Level: LevelFault, Fault: FaultUs, Since: l.TroubleSince, Runbook: "ProxyServiceRestarting", Next: l.TroubleRemedy,
		Headline: fmt.Sprintf("our fault%s: %s.", sinceWhen(s.At, l.TroubleSince), l.TroubleMeaning), Detail: l.TroubleDetail,
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
