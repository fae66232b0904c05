package status

import (
	"os"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/messages"
)

// ok is an ending with which nothing is wrong.
var ok = Ending{Answer: 200, Whole: true, FirstByte: time.Second, Client: "claude-cli/2.1.330"}

// from makes the endings of a step as they were until the last steps, which
// are otherwise.
func from(steps int, bad Ending) func(step int) Ending {
	return func(step int) Ending {
		if step >= Steps-steps {
			return bad
		}
		return ok
	}
}

var verdicts = []struct {
	name     string
	spoil    func(*Snapshot)
	healthy  bool
	level    Level
	fault    Fault
	headline string
	since    *time.Time
}{
	{"nothing wrong", func(s *Snapshot) {}, true, LevelOK, FaultNone,
		"Healthy: 900 requests in the last 15 minutes, 100 % of them answered whole.", nil},
	{"nobody asks", func(s *Snapshot) { s.Traffic, s.Load.Active = Traffic{}, 0 }, true, LevelOK, FaultNone,
		"Healthy: nothing is wrong, and nobody has asked for anything in the last 15 minutes.", nil},
	{"long streams", func(s *Snapshot) { s.Traffic = Traffic{} }, true, LevelOK, FaultNone,
		"Healthy: 3 requests in flight, none has ended in the last 15 minutes.", nil},
	{"no tailnet wanted", func(s *Snapshot) { s.Tailnet = Tailnet{Link: messages.LinkDisabled} }, true, LevelOK, FaultNone,
		"Healthy: 900 requests in the last 15 minutes, 100 % of them answered whole.", nil},

	{"stuck", func(s *Snapshot) { s.Lifecycle.Stuck, s.Lifecycle.SilentSeconds = true, 14 }, false, LevelFault, FaultUs,
		"Our fault: the conductor is stuck since 11:59:46 UTC; what is said of the tailnet and the lifecycle is old.", ago(14 * time.Second)},
	{"draining", func(s *Snapshot) {
		s.Lifecycle.Phase, s.Lifecycle.Since, s.Drain = messages.Draining, *ago(20 * time.Second), &Drain{By: *ago(-80 * time.Second), Left: 12}
	}, false, LevelEnding, FaultNone,
		"Shutting down, as it was asked to: 12 requests have until 12:01:20 UTC (80 s more) to finish.", ago(20 * time.Second)},
	{"given up", func(s *Snapshot) {
		s.Lifecycle.Phase, s.Lifecycle.Since, s.Lifecycle.ExitCode = messages.Stopped, noon, 1
	}, false, LevelFault, FaultUs, "Our fault: the service has given up, with exit code 1.", ago(0)},
	{"starting", func(s *Snapshot) { s.Lifecycle.Phase, s.Lifecycle.Since = messages.Starting, *ago(3 * time.Second) }, false, LevelEnding, FaultNone,
		"Starting since 11:59:57 UTC: the phase is starting.", ago(3 * time.Second)},

	{"tailnet gone", func(s *Snapshot) {
		s.Lifecycle.Phase = messages.Degraded
		s.Tailnet = Tailnet{Link: messages.LinkNotConnected, Reason: messages.ReasonKeyExpired, Meaning: messages.ReasonKeyExpired.Meaning(), Remedy: messages.ReasonKeyExpired.Remedy(), Since: ago(time.Hour)}
	}, false, LevelFault, FaultTailnet, "The tailnet is gone since 11:00:00 UTC: the node key has expired (key_expired).", ago(time.Hour)},
	{"tailnet not there yet", func(s *Snapshot) {
		s.Lifecycle.Phase = messages.ConnectingTailnet
		s.Tailnet = Tailnet{Link: messages.LinkNotConnected, Reason: messages.ReasonSocketAbsent, Remedy: messages.ReasonSocketAbsent.Remedy()}
	}, false, LevelFault, FaultTailnet, "Starting: the tailnet is not there yet: socket_absent.", nil},
	{"our own limits", func(s *Snapshot) {
		s.Lifecycle.Phase = messages.Degraded
		s.Tailnet = Tailnet{Link: messages.LinkNotConnected, Reason: messages.ReasonOwnLimits, Meaning: messages.ReasonOwnLimits.Meaning(), Remedy: messages.ReasonOwnLimits.Remedy(), Since: ago(time.Hour)}
	}, false, LevelFault, FaultUs, "Our fault since 11:00:00 UTC: this process cannot open one more file or connection (own_limits).", ago(time.Hour)},
	{"tailnet impaired", func(s *Snapshot) { s.Tailnet.Impaired = []messages.Impairment{messages.ImpairedNoDERP} }, true, LevelWarning, FaultTailnet,
		"Healthy, but the tailnet is impaired: no_derp.", nil},
	{"key expiring", func(s *Snapshot) {
		s.Tailnet.Impaired, s.Tailnet.KeyExpiry = []messages.Impairment{messages.ImpairedKeyExpiring}, ago(-3*24*time.Hour)
	}, true, LevelWarning, FaultTailnet, "Healthy, but the node's key expires in 3 d (2026-11-28T12:00:00Z).", nil},
	{"another name", func(s *Snapshot) {
		s.Tailnet.Hostname, s.Tailnet.Impaired = "anthropic-oauth-proxy-1", []messages.Impairment{messages.ImpairedNameDiffers}
	}, true, LevelWarning, FaultTailnet,
		"Healthy, but the node is named anthropic-oauth-proxy-1, not anthropic-oauth-proxy as configured: clients that use the configured name do not come here.", nil},

	{"our own trouble", func(s *Snapshot) {
		s.Lifecycle.Phase = messages.Degraded
		s.Lifecycle.Trouble, s.Lifecycle.TroubleMeaning = messages.TroubleListenerFailing, messages.TroubleListenerFailing.Meaning()
		s.Lifecycle.TroubleRemedy, s.Lifecycle.TroubleSince = messages.TroubleListenerFailing.Remedy(), ago(9*time.Second)
		s.Port.Serving = false
	}, false, LevelFault, FaultUs, "Our fault since 11:59:51 UTC: the listener fails again and again.", ago(9 * time.Second)},
	{"stood still", func(s *Snapshot) { s.Lifecycle.StalledAt, s.Lifecycle.StalledSeconds = ago(time.Minute), 31 }, true, LevelWarning, FaultUs,
		"Healthy, but the process stood still for 31 s until 11:59:00 UTC.", ago(time.Minute)},
	{"stood still long ago", func(s *Snapshot) { s.Lifecycle.StalledAt, s.Lifecycle.StalledSeconds = ago(time.Hour), 31 }, true, LevelOK, FaultNone,
		"Healthy: 900 requests in the last 15 minutes, 100 % of them answered whole.", nil},
	{"port down", func(s *Snapshot) { s.Port.Serving = false }, false, LevelFault, FaultUs, "Our fault: nobody serves the proxy port 127.0.0.1:8080.", nil},
	{"port in trouble", func(s *Snapshot) {
		s.Port.Serving, s.Port.Trouble, s.Port.Detail, s.Port.Since = false, messages.TroubleDescriptors, "connect to our own port: too many open files", ago(time.Minute)
	}, false, LevelFault, FaultUs, "Our fault: nobody new is served since 11:59:00 UTC: the process has no file descriptor left.", ago(time.Minute)},
	{"restart storm", func(s *Snapshot) {
		l := &s.Tree[2].Services[0]
		l.Restarts, l.LastMinute, l.Causes = 5, 4, []Cause{{*ago(9 * time.Second), "panic", "nil status"}}
	}, false, LevelFault, FaultUs, "Our fault: the service tailnet keeps failing (4 restarts in the last minute, the last by panic at 11:59:51 UTC).", ago(9 * time.Second)},
	{"an old restart", func(s *Snapshot) {
		l := &s.Tree[2].Services[0]
		l.Restarts, l.Causes = 5, []Cause{{*ago(9 * time.Hour), "panic", "nil status"}}
	}, true, LevelOK, FaultNone, "Healthy: 900 requests in the last 15 minutes, 100 % of them answered whole.", nil},
	{"backing off", func(s *Snapshot) {
		s.Tree[0].BackingOff = true
		l := &s.Tree[0].Services[1]
		l.Up, l.Restarts, l.LastMinute = false, 6, 6
	}, false, LevelFault, FaultUs, "Our fault: the service drain keeps failing; its supervisor pauses (6 restarts).", nil},
	{"a service is down", func(s *Snapshot) { s.Tree[0].Services[1].Up = false }, false, LevelFault, FaultUs,
		"Our fault: the service drain does not run (0 restarts).", nil},

	{"API overloaded", func(s *Snapshot) { traffic(s, from(30, Ending{Answer: 529, Whole: true, UpstreamID: "req_011C"})) }, false, LevelFault, FaultAPI,
		"Not us: the API has answered 529 (overloaded) to 100 % of requests since 11:55:10 UTC.", ago(290 * time.Second)},
	{"API fails", func(s *Snapshot) { traffic(s, from(2, Ending{Answer: 500, Whole: true})) }, false, LevelFault, FaultAPI,
		"Not us: the API has answered 5xx to 100 % of requests since 11:59:50 UTC.", ago(10 * time.Second)},
	{"rate limits", func(s *Snapshot) { traffic(s, from(2, Ending{Answer: 429, Whole: true})) }, false, LevelFault, FaultAPI,
		"Not us: the API has refused, for their rate limits (429), 100 % of requests since 11:59:50 UTC.", ago(10 * time.Second)},
	{"API does not answer", func(s *Snapshot) { traffic(s, from(1, Ending{By: proxy.ByUpstream})) }, false, LevelFault, FaultAPI,
		"Not us: the API or the way to it has given no answer to 50 % of requests since 12:00:00 UTC.", ago(0)},
	{"API breaks off", func(s *Snapshot) { traffic(s, from(3, Ending{Answer: 200, By: proxy.ByUpstream})) }, false, LevelFault, FaultAPI,
		"Not us: the API or the way to it has broken off 100 % of requests since 11:59:40 UTC.", ago(20 * time.Second)},
	{"an outage that is over", func(s *Snapshot) {
		traffic(s, func(step int) Ending {
			if step < 80 {
				return Ending{Answer: 529, Whole: true}
			}
			return ok
		})
	}, true, LevelOK, FaultNone, "Healthy: 900 requests in the last 15 minutes, 11 % of them answered whole.", nil},
	{"silent streams", func(s *Snapshot) { quiet := 94.0; s.Streams[1].QuietSeconds = &quiet }, false, LevelFault, FaultAPI,
		"Not us: no byte has come through 1 stream for up to 94 s (3 in flight).", ago(94 * time.Second)},

	{"we end them", func(s *Snapshot) { traffic(s, from(2, Ending{By: proxy.ByProxy})) }, false, LevelFault, FaultUs,
		"Our fault: the proxy itself has ended 100 % of requests since 11:59:50 UTC.", ago(10 * time.Second)},
	{"clients leave", func(s *Snapshot) { traffic(s, from(2, Ending{By: proxy.ByClient, Answer: 200})) }, true, LevelOK, FaultNone,
		"Healthy: 900 requests in the last 15 minutes, 97.8 % of them answered whole.", nil},
	{"full", func(s *Snapshot) { s.Load = Load{Active: 1000, Limit: 1000, Waiting: 37} }, true, LevelWarning, FaultUs,
		"Healthy, but the house is full: all 1,000 places are taken and 37 requests wait.", nil},
	{"placeholders", func(s *Snapshot) {
		traffic(s, from(12, Ending{Answer: 401, Whole: true, Placeholder: true, Client: Other}))
	}, false, LevelFault, FaultClient,
		"Not us, but clients or their gateway: 100 % of requests have come with a placeholder in place of a credential since 11:58:10 UTC.", ago(110 * time.Second)},
	{"a few placeholders", func(s *Snapshot) {
		n := 0
		traffic(s, func(step int) Ending {
			if n++; step == Steps-1 && n%10 == 0 {
				return Ending{Answer: 401, Whole: true, Placeholder: true, Client: Other}
			}
			return ok
		})
	}, true, LevelWarning, FaultClient,
		"Healthy, but 5 % of requests have come with a placeholder in place of a credential since 12:00:00 UTC (by clients or their gateway).", ago(0)},
	{"a bad release", func(s *Snapshot) {
		traffic(s, func(step int) Ending {
			if step%3 == 0 {
				return Ending{Answer: 400, Whole: true, Client: "claude-cli/2.1.331"}
			}
			return ok
		})
	}, false, LevelFault, FaultClient, "Not us, but a client: the API refuses 100 % of the requests of claude-cli/2.1.331 as wrong (4xx).", nil},
	{"all clients refused", func(s *Snapshot) {
		traffic(s, func(step int) Ending {
			return Ending{Answer: 400, Whole: true, Client: []string{"claude-cli/2.1.331", "claude-cli/2.1.330"}[step%2]}
		})
	}, true, LevelOK, FaultNone, "Healthy: 900 requests in the last 15 minutes, 0 % of them answered whole.", nil},
	{"stdout stalled", func(s *Snapshot) { s.Log = &LogAccount{StalledSeconds: 31} }, true, LevelWarning, FaultUs,
		"Healthy, but stdout has taken no log line for 31 s.", ago(31 * time.Second)},
	{"log lost", func(s *Snapshot) { s.Log = &LogAccount{Dropped: 120, LastDrop: ago(31 * time.Second)} }, true, LevelWarning, FaultUs,
		"Healthy, but log lines are lost, the last one 31 s ago: stdout is too slow.", ago(31 * time.Second)},
	{"log lost long ago", func(s *Snapshot) { s.Log = &LogAccount{Dropped: 120, LastDrop: ago(time.Hour)} }, true, LevelOK, FaultNone,
		"Healthy: 900 requests in the last 15 minutes, 100 % of them answered whole.", nil},
	{"API falls silent", func(s *Snapshot) {
		traffic(s, from(3, Ending{Answer: 200, By: proxy.ByUpstream, Silent: true}))
	}, false, LevelFault, FaultAPI,
		"Not us: the API or the way to it has fallen silent in the middle of 100 % of requests since 11:59:40 UTC.", ago(20 * time.Second)},
}

func TestVerdicts(t *testing.T) {
	runbook, err := os.ReadFile("../../RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range verdicts {
		t.Run(tc.name, func(t *testing.T) {
			s := well()
			tc.spoil(&s)
			v := Judge(s)
			if v.Healthy != tc.healthy || v.Level != tc.level || v.Fault != tc.fault || v.Headline != tc.headline {
				t.Errorf("healthy %t, %s, %s: %s\nwant    %t, %s, %s: %s", v.Healthy, v.Level, v.Fault, v.Headline, tc.healthy, tc.level, tc.fault, tc.headline)
			}
			if (v.Since == nil) != (tc.since == nil) || v.Since != nil && !v.Since.Equal(*tc.since) {
				t.Errorf("since %v, want %v", v.Since, tc.since)
			}
			if v.Level == LevelFault && v.Fault != FaultNone && v.Next == "" && s.Lifecycle.Phase != messages.Stopped {
				t.Errorf("nothing to do next: %+v", v)
			}
			if v.Runbook != "" && !strings.Contains(string(runbook), "# "+v.Runbook+"\n") {
				t.Errorf("the RUNBOOK has no section %q", v.Runbook)
			}
		})
	}
}

// What else is wrong is said too, after what it follows from.
func TestVerdictOfManyFaults(t *testing.T) {
	s := well()
	s.Tailnet.Hostname = "other"
	s.Port.Serving = false
	traffic(&s, from(30, Ending{Answer: 529, Whole: true}))
	v := Judge(s)
	if v.Healthy || v.Fault != FaultUs || len(v.Also) != 2 || !strings.HasPrefix(v.Also[0], "Not us: the API") || !strings.HasPrefix(v.Also[1], "The node is named") {
		t.Errorf("the verdict is %+v", v)
	}
}

// A verdict is about the Snapshot alone: not about the verdict in it, and not
// about the time at which it is asked.
func TestVerdictIsAFunction(t *testing.T) {
	s := well()
	traffic(&s, from(30, Ending{Answer: 529, Whole: true}))
	first := Judge(s)
	s.Verdict = first
	if again := Judge(s); again.Headline != first.Headline || !again.Since.Equal(*first.Since) {
		t.Errorf("first %+v, then %+v", first, again)
	}
}
