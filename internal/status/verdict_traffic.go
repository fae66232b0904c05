package status

import (
	"fmt"
	"time"
)

// What part of the recent requests makes a finding, of how many at least.
const (
	muchOfAPI    = 0.10
	muchOfOurs   = 0.05
	muchOfClient = 0.20
	fewest       = 3
)

// lookAPI: the API's own refusals, and answers that never came or broke.
func lookAPI(s Snapshot) *Finding {
	r := s.Traffic.Recent
	share, much := part(r.Endings.API, r.Endings.Total, muchOfAPI)
	if !much {
		return nil
	}
	since := beginning(s.Traffic.Points, func(p Point) (uint64, uint64) { return p.Endings.API, p.Endings.Total }, muchOfAPI)
	f := &Finding{Level: LevelFault, Fault: FaultAPI, Since: since, Share: share, Runbook: "ProxyUpstreamErrors"}
	when := "in the last " + span(time.Duration(r.Seconds)*time.Second)
	if since != nil {
		when = "since " + clock(s.At, *since)
	}
	how, n := r.most()
	f.Headline = fmt.Sprintf("not us: the API %s %s of requests %s.", how.says, percent(n, r.Endings.Total), when)
	f.Detail, f.Next = how.detail, how.next
	if t := s.API.LastTrouble; t != nil && t.UpstreamID != "" {
		f.Next += fmt.Sprintf(" Name request-id %s.", t.UpstreamID)
	} else if t != nil {
		f.Next += fmt.Sprintf(" Search the log for %s.", t.RequestID)
	}
	return f
}

// manner is a way in which the API fails requests.
type manner struct{ says, detail, next string }

var (
	by529  = manner{"has answered 529 (overloaded) to", "Clients retry by themselves; nothing of ours failed.", "Look at Anthropic's status page."}
	by5xx  = manner{"has answered 5xx to", "Clients retry by themselves; nothing of ours failed.", "Look at Anthropic's status page."}
	by429  = manner{"has refused, for their rate limits (429),", "The limits belong to the clients' credentials; see the headroom below.", "Spread the work over time, or raise the limits of those accounts."}
	byCut  = manner{"or the way to it has broken off", "Clients ask again by themselves.", "Run `anthropic-oauth-proxy doctor`, then look at Anthropic's status page and at the network's firewalls."}
	bySil  = manner{"or the way to it has fallen silent in the middle of", "Our clock (proxy.idle_timeout_secs) broke the streams, and their clients ask again.", "Look at Anthropic's status page and at what stands between; the log lines have \"cause\":\"silent\"."}
	byNone = manner{"or the way to it has given no answer to", "No connection, or no answer in time.", "Run `anthropic-oauth-proxy doctor`: it tries DNS, each address, TLS and HTTP."}
)

// most finds the commonest manner, and how many requests it took.
func (r Recent) most() (manner, uint64) {
	refused := r.Answers[Class529] + r.Answers[Class5xx] + r.Answers[Class429]
	unanswered := r.Endings.API - min(r.Endings.API, refused+r.Broken)
	best, n := byNone, unanswered
	for _, other := range []struct {
		manner
		n uint64
	}{{byCut, r.Broken - min(r.Broken, r.Silent)}, {bySil, r.Silent}, {by429, r.Answers[Class429]}, {by5xx, r.Answers[Class5xx]}, {by529, r.Answers[Class529]}} {
		if other.n > n {
			best, n = other.manner, other.n
		}
	}
	return best, n
}

// silent is how long a stream may lack a byte: the API pings far more often.
const silent = 45.0

func lookSilence(s Snapshot) *Finding {
	n, longest := 0, 0.0
	for _, stream := range s.Streams {
		if stream.QuietSeconds != nil && *stream.QuietSeconds >= silent {
			n++
			longest = max(longest, *stream.QuietSeconds)
		}
	}
	if n == 0 {
		return nil
	}
	since := s.At.Add(-seconds(longest))
	return &Finding{Level: LevelFault, Fault: FaultAPI, Since: &since, Share: float64(n) / float64(max(1, s.Load.Active)), Runbook: runbookWhose,
		Headline: fmt.Sprintf("not us: no byte has come through %s for up to %s (%d in flight).", count(n, "stream"), span(seconds(longest)), s.Load.Active),
		Detail:   "The API pings far more often than that: it is silent, or a client does not read. Our clock breaks such streams, and their clients ask again.",
		Next:     "Search the log for the ids below; look at Anthropic's status page, and at what stands between."}
}

// lookOurs: requests that we ended, for whatever reason.
func lookOurs(s Snapshot) *Finding {
	r := s.Traffic.Recent
	share, much := part(r.Endings.Us, r.Endings.Total, muchOfOurs)
	if !much {
		return nil
	}
	since := beginning(s.Traffic.Points, func(p Point) (uint64, uint64) { return p.Endings.Us, p.Endings.Total }, muchOfOurs)
	f := &Finding{Level: LevelFault, Fault: FaultUs, Since: since, Share: share, Runbook: runbookWhose,
		Headline: fmt.Sprintf("our fault: the proxy itself has ended %s of requests.", percent(r.Endings.Us, r.Endings.Total)),
		Next:     "In the log, \"ended_by\":\"proxy\" with ended_in and error_type says why."}
	if since != nil {
		f.Headline = fmt.Sprintf("our fault: the proxy itself has ended %s of requests since %s.", percent(r.Endings.Us, r.Endings.Total), clock(s.At, *since))
	}
	return f
}

func lookFull(s Snapshot) *Finding {
	if s.Load.Waiting == 0 || s.Load.Limit == 0 || s.Load.Active < s.Load.Limit {
		return nil
	}
	return &Finding{Level: LevelWarning, Fault: FaultUs, Runbook: "ProxyQueueSaturated",
		Headline: fmt.Sprintf("the house is full: all %s places are taken and %s.", thousands(int64(s.Load.Limit)), waiting(s.Load.Waiting)),
		Next:     "Raise proxy.max_connections (and the descriptors' limit), or find the caller that takes so many in the streams below."}
}

func waiting(n int) string {
	return fmt.Sprintf("%s %s", count(n, "request"), plural(n, "waits", "wait"))
}

func lookPlaceholders(s Snapshot) *Finding {
	r := s.Traffic.Recent
	if r.Placeholder == 0 {
		return nil
	}
	since := beginning(s.Traffic.Points, func(p Point) (uint64, uint64) { return uint64(p.placeholder), p.Endings.Total }, 0)
	f := &Finding{Level: LevelFault, Fault: FaultClient, Since: since, Share: float64(r.Placeholder) / float64(max(1, r.Endings.Total)), Runbook: "ProxyPlaceholderCredentials",
		Detail: "An AI gateway in front forwards what its client sent, or sets a placeholder itself; the API answers 401.",
		Next:   placeholderRemedy}
	f.Headline = percent(r.Placeholder, r.Endings.Total) + " of requests have come with a placeholder in place of a credential"
	if since != nil {
		f.Headline += " since " + clock(s.At, *since)
	}
	if f.Share < muchOfClient {
		f.Level = LevelWarning
		f.Headline += " (by clients or their gateway)."
		return f
	}
	f.Headline = "not us, but clients or their gateway: " + f.Headline + "."
	return f
}

// lookClients: a release whose requests are refused while others' are not.
func lookClients(s Snapshot) *Finding {
	var total, bad uint64
	for _, c := range s.Clients {
		total += c.Recent
		bad += c.RecentBad
	}
	for _, c := range s.Clients {
		share, much := part(c.RecentBad, c.Recent, muchOfClient)
		if !much || c.Name == Other || c.Recent < 2*fewest {
			continue
		}
		others := "No other client has asked in that time."
		if rest := total - c.Recent; rest > 0 {
			others = fmt.Sprintf("All other clients together: %s.", percent(bad-c.RecentBad, rest))
			if float64(bad-c.RecentBad)/float64(rest) > share/2 {
				continue // not this one's fault alone
			}
		}
		return &Finding{Level: LevelFault, Fault: FaultClient, Share: share, Runbook: runbookWhose,
			Headline: fmt.Sprintf("not us, but a client: the API refuses %s of the requests of %s as wrong (4xx).", percent(c.RecentBad, c.Recent), c.Name),
			Detail:   others,
			Next:     "Compare with the release before; pin it (npm i -g @anthropic-ai/claude-code@VERSION) and report the bad one."}
	}
	return nil
}

// part is a share, and whether it is worth a word.
func part(n, of uint64, much float64) (share float64, worth bool) {
	if of == 0 {
		return 0, false
	}
	share = float64(n) / float64(of)
	return share, n >= fewest && share >= much
}

// beginning is when the newest run of bad steps began. Steps without any
// request belong to the run, up to a minute of them.
func beginning(points []Point, of func(Point) (bad, total uint64), much float64) *time.Time {
	const longestGap = int(time.Minute / Step)
	var since *time.Time
	gap := 0
	for i := len(points) - 1; i >= 0 && gap <= longestGap; i-- {
		bad, total := of(points[i])
		switch {
		case total == 0:
			gap++
		case bad > 0 && float64(bad) >= much*float64(total):
			at := points[i].At
			since, gap = &at, 0
		default:
			return since
		}
	}
	return since
}
