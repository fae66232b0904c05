package supervisor

import (
	"os"
	"time"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/status"
)

// newFeed says where what people see comes from.
func (s *System) newFeed(c config.Config, o Options, started time.Time, data *proxy.Metrics, book *ledger) *status.Feed {
	instance, err := os.Hostname()
	if err != nil {
		instance = "of an unknown host"
	}
	return status.NewFeed(status.Sources{
		Service:  status.Service{Name: "anthropic-oauth-proxy", Instance: instance, Version: o.Version, Started: started.UTC()},
		APIURL:   c.Proxy.Upstream.Scheme + "://" + c.Proxy.Upstream.Host,
		Expected: s.sidecar.hostname,
		State:    s.state.Get, Totals: data.Totals, Recorder: s.recorder,
		Load: func() status.Load {
			l := s.gate.Load()
			return status.Load{Active: l.Active, Waiting: l.Waiting, Limit: c.Proxy.MaxConnections}
		},
		Tree: book.domains,
		Port: func() status.Port {
			return status.Port{Addr: s.edge.Addr(), Wanted: s.desired.Get().Listen, Serving: book.up("listener")}
		},
		Connections: s.connections,
	}.Take)
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

// domains are the accounts as a tree.
func (l *ledger) domains() []status.Domain {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []status.Domain
	for _, n := range l.nodes {
		if len(all) == 0 || all[len(all)-1].Name != n.supervisor {
			all = append(all, status.Domain{Name: n.supervisor, BackingOff: l.paces[n.supervisor].backingOff})
		}
		life := status.ServiceLife{Name: n.service, Up: n.up, Incarnation: n.restarts + 1, Restarts: n.restarts}
		if n.up {
			since := n.since.UTC()
			life.Since = &since
		}
		last := &all[len(all)-1]
		last.Services = append(last.Services, life)
	}
	return all
}

func (l *ledger) up(service string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		if n.service == service {
			return n.up
		}
	}
	return false
}
