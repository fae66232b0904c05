package supervisor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/messages"
)

// newFeed says where what people see comes from.
func (s *System) newFeed(c config.Config, o Options, started time.Time, data *proxy.Metrics, book *accounts) *status.Feed {
	instance, err := os.Hostname()
	if err != nil {
		instance = "of an unknown host"
	}
	sources := status.Sources{
		Service:  status.Service{Name: "anthropic-oauth-proxy", Instance: instance, Version: o.Version, Started: started.UTC()},
		APIURL:   c.Proxy.Upstream.Scheme + "://" + c.Proxy.Upstream.Host,
		Expected: s.sidecar.hostname,
		State:    s.state.Get, Totals: data.Totals, Recorder: s.recorder,
		Load: func() status.Load {
			l := s.gate.Load()
			return status.Load{Active: l.Active, Waiting: l.Waiting, Limit: c.Proxy.MaxConnections}
		},
		Tree:        func() []status.Domain { return domainsOf(book.Services()) },
		Port:        func() status.Port { return s.port(book) },
		Journal:     func() []status.Entry { return entriesOf(s.Journal()) },
		Connections: s.connections,
	}
	if o.LogState != nil {
		sources.Log = func() status.LogAccount { return logAccount(o.LogState()) }
	}
	return status.NewFeed(sources.Take)
}

func logAccount(l telemetry.LinesState) status.LogAccount {
	account := status.LogAccount{Dropped: l.Dropped, StalledSeconds: l.Stalled.Seconds()}
	if !l.LastDrop.IsZero() {
		at := l.LastDrop.UTC()
		account.LastDrop = &at
	}
	return account
}

// port is the proxy port as a client finds it.
func (s *System) port(book *accounts) status.Port {
	state := s.state.Get()
	p := status.Port{
		Addr: s.edge.Addr(), Wanted: state.Desired.Listen, Trouble: state.Trouble, Detail: state.TroubleDetail,
		Serving: book.service("listener").Up && state.Trouble == messages.TroubleNone,
	}
	if !state.TroubleSince.IsZero() {
		since := state.TroubleSince.UTC()
		p.Since = &since
	}
	return p
}

// connections are those to the API.
func (s *System) connections() []status.Connection {
	view := s.pool.View().Connections
	all := make([]status.Connection, len(view))
	for i, c := range view {
		all[i] = status.Connection{
			Protocol: string(c.Protocol), Remote: c.Remote, AgeSeconds: c.Age.Seconds(), HandshakeSeconds: c.Handshake.Seconds(), RTTSeconds: c.RTT.Seconds(),
			Streams: c.Streams, Limit: c.Limit, Leaving: c.Leaving, Doubtful: c.Doubtful,
		}
	}
	return all
}

// domainsOf are the accounts as a tree.
func domainsOf(services []messages.ServiceAccount) []status.Domain {
	var all []status.Domain
	for _, a := range services {
		if len(all) == 0 || all[len(all)-1].Name != a.Supervisor {
			all = append(all, status.Domain{Name: a.Supervisor})
		}
		life := status.ServiceLife{
			Name: a.Service, Up: a.Up, Incarnation: a.Incarnation, Restarts: a.Restarts, LastMinute: a.LastMinute,
		}
		if a.Up {
			since := a.Since.UTC()
			life.Since = &since
		}
		for _, c := range slices.Backward(a.Causes) {
			life.Causes = append(life.Causes, status.Cause{At: c.At.UTC(), Kind: string(c.Kind), Text: c.Message})
		}
		last := &all[len(all)-1]
		if !a.RetryAt.IsZero() {
			at := a.RetryAt.UTC()
			last.BackingOff, last.RetryAt = true, &at
		}
		last.Services = append(last.Services, life)
	}
	return all
}

// entriesOf are the facts that changed what a person may see, newest first, in
// words.
func entriesOf(journal []messages.JournalEntry) []status.Entry {
	all := make([]status.Entry, 0, len(journal))
	phase, said := messages.Initializing, ""
	for _, e := range journal {
		what, because := strings.ReplaceAll(string(e.Fact.Kind()), "_", " "), why(e)
		switch {
		case e.State.Phase != phase:
			what = fmt.Sprintf("%s → %s", spoken(phase), spoken(e.State.Phase))
		case because == said:
			continue
		}
		phase, said = e.State.Phase, because
		all = append(all, status.Entry{At: e.At.UTC(), What: what, Why: because})
	}
	slices.Reverse(all)
	return all
}

func spoken(p messages.Phase) string { return strings.ReplaceAll(string(p), "_", " ") }

// why is what a fact says, or what its state says is wrong, in a few words.
func why(e messages.JournalEntry) string {
	s := e.State
	switch fact := e.Fact.(type) {
	case messages.ShutdownRequested:
		return fact.Cause
	case messages.Interrupted:
		return fact.Cause
	case messages.Stalled:
		return "the process had stood still for " + fact.For.Round(time.Millisecond).String()
	case messages.ListenerReady:
		return "the proxy port " + fact.Addr + " is open"
	case messages.ListenerFailed:
		return fact.Err
	case messages.DrainFinished:
		return fmt.Sprintf("%d requests were cut", fact.Cut)
	}
	switch {
	case s.Phase == messages.Stopped:
		return s.Exit.Message
	case s.Trouble != messages.TroubleNone:
		return s.Trouble.Meaning() + ": " + s.TroubleDetail
	case s.Tailnet.Reason != messages.ReasonNone:
		return s.Tailnet.Reason.Meaning()
	case s.Tailnet.Link == messages.LinkConnected && len(s.Tailnet.Impaired) > 0:
		return fmt.Sprintf("the tailnet is impaired: %v", s.Tailnet.Impaired)
	case s.Tailnet.Link == messages.LinkConnected:
		return "the tailnet is connected"
	}
	return ""
}
