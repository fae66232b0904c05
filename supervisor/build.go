package supervisor

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/actors/conductor"
	"anthropic-oauth-proxy/actors/drain"
	"anthropic-oauth-proxy/actors/listener"
	"anthropic-oauth-proxy/actors/metrics"
	"anthropic-oauth-proxy/actors/tailnet"
	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/callers"
	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/lifecycle"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/upstream"
	"anthropic-oauth-proxy/messages"
)

// stalenessSlack is what the watcher may be late by and still be believed:
// while the tailnet is lost it pauses for a second between looks, and a look
// may take as long as its own deadline.
const stalenessSlack = 2 * time.Second

// The proxy port's trouble: how long it must serve to be over, and how long it
// may last, without and with requests in flight.
const (
	steady   = 3 * time.Second
	lostIdle = time.Minute
	lost     = 5 * time.Minute
)

// Build creates the service and binds its admin socket. Nothing runs yet. The
// error names the address when that is in use.
func Build(c config.Config, o Options) (*System, error) {
	if o.Decorate == nil {
		o.Decorate = func(s suture.Service) suture.Service { return s }
	}
	if o.LastWords == nil {
		o.LastWords = func(string, []byte) {}
	}
	started := time.Now()
	machine := lifecycle.New(started, lifecycle.Limits{
		ConnectTimeout: c.Tailscale.ConnectTimeout, DrainTimeout: c.Proxy.DrainTimeout, DrainGrace: drainGrace,
		StaleAfter: 2*c.Tailscale.PollInterval + stalenessSlack,
		Patience:   c.Tailscale.PollInterval + stalenessSlack,
		Steady:     steady, LostIdle: lostIdle, Lost: lost,
	})
	m := telemetry.New(o.Version)
	data := proxy.NewMetrics(m.Registry, c.Proxy.MaxConnections)
	s := &System{
		log:     o.Log,
		events:  messages.NewMailbox[messages.Event](mailboxSize),
		state:   messages.NewLatest(machine.State()),
		desired: messages.NewLatest(machine.State().Desired),
		gate:    admission.NewGate(c.Proxy.MaxConnections, c.Proxy.QueueTimeout),
		pool:    upstream.New(c.Proxy.Upstream, engine(c.Proxy, o)),
		sidecar: newSidecar(c.Tailscale), lastWords: o.LastWords,
	}
	s.ended, s.end = context.WithCancelCause(context.Background())
	s.journal = conductor.NewJournal()
	book := tree{accounts: &accounts{}, log: o.Log}
	s.recorder = status.NewRecorder(m.Registry, c.Headers, o.Log)
	s.feed = s.newFeed(c, o, started, data, book.accounts)
	pages := &metrics.Pages{
		State: s.state.Get, Totals: data.Totals, Tree: func() any { return viewOf(book.Services(), time.Now()) }, Feed: s.feed,
		Events:  func() any { return s.Journal() },
		Started: started, Gatherer: m.Registry, Log: o.Log,
	}
	if c.Proxy.AdminPprof {
		pages.Profiles = metrics.Profiles()
	}
	m.Registry.MustRegister(o.Collectors...)
	data.WatchInFlight(func() float64 { return float64(s.gate.Load().Active) })
	data.WatchConnections(
		func() float64 { h1, _ := s.pool.Connections(); return float64(h1) },
		func() float64 { _, h2 := s.pool.Connections(); return float64(h2) })

	handler := proxy.New(proxy.Options{
		Upstream: s.pool, Gate: s.gate, Rules: c.Headers, Metrics: data, Log: o.Log,
		Limits:      proxy.Limits{HeaderTimeout: c.Proxy.HeaderTimeout, IdleTimeout: c.Proxy.IdleTimeout, MaxBodyBytes: c.Proxy.MaxBodyBytes},
		Local:       map[string]http.Handler{"/health": pages.Health(), "/metrics": pages.Metrics()},
		Identify:    s.sidecar.identify,
		Followers:   append([]proxy.Follower{s.recorder}, o.Followers...),
		TailnetLost: func() bool { return s.state.Get().Tailnet.Link == messages.LinkNotConnected },
	})
	doors := edge.NewMetrics(m.Registry)
	edgeConns := s.gate.Capacity() + edge.SpareConns
	warnOfDescriptors(o.Log, descriptorsNeeded(edgeConns, c.Proxy.MaxConnections))
	s.edge = edge.New(handler, edge.Options{Addr: c.Proxy.ListenAddr, MaxConns: edgeConns, Log: o.Log, Metrics: doors})
	s.admin = edge.NewAdmin(pages.Mux(), edge.Options{Addr: c.Proxy.AdminAddr, Log: o.Log, Metrics: doors})
	addr, err := s.admin.Bind()
	if err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("open admin port: %w; %s", err, edge.BindRemedy(err, "proxy.admin_addr"))
	}
	o.Log.Info().Str("event", "admin_ready").Str("addr", addr.String()).Msg("admin pages are open")

	s.door = &door{desired: s.desired, gate: s.gate, edge: s.edge, log: o.Log}
	port := newPortWatch(s.desired, s.edge)
	m.Registry.MustRegister(book, listenerServing(port), s.pool, metrics.NewStateCollector(s.state.Get))
	s.watchdog = watchdog{state: s.state.Get, bark: s.GiveUp, conductor: func() messages.ServiceAccount { return book.service("conductor") }}

	domain := func(name string, longest time.Duration, services ...suture.Service) *suture.Supervisor {
		for i, service := range services {
			services[i] = o.Decorate(service)
		}
		return book.supervisor(name, longest, services...)
	}
	s.root = domain("root", longestPause)
	s.root.Add(domain("control", longestControlPause,
		conductor.New(conductor.Options{
			Mailbox: s.events, Desired: s.desired, State: s.state, Machine: machine, Hostname: s.sidecar.hostname,
			Edge: func() messages.EdgeStatus {
				return port.status(time.Now(), book.service("listener"), func() int { return s.gate.Load().Left() })
			},
			Journal: s.journal, Metrics: conductor.NewMetrics(m.Registry, s.events), Log: o.Log,
		}),
		drain.New(s.events, s.desired, s.door, o.Log)))
	s.root.Add(domain("edge", longestEdgePause, listener.New(s.events, s.desired, s.edge, o.Log)))
	s.root.Add(domain("admin", longestPause, metrics.New(s.admin), port))
	if s.sidecar.api != nil {
		watcher := tailnet.New(s.events, s.sidecar.api, s.sidecar.watch, o.Log)
		m.Registry.MustRegister(watcher)
		s.root.Add(domain("tailnet", longestPause, watcher))
	}
	return s, s.begin(c)
}

// sidecar is what the service needs of the tailscaled beside it; the zero
// sidecar is the one of `mode = "off"`.
type sidecar struct {
	api      *tailnet.LocalAPI
	watch    tailnet.Config
	hostname string
	callers  *callers.Identifier // nil unless callers are to be named
	identify func(edge.Client) (proxy.Caller, bool)
}

func newSidecar(c config.Tailscale) sidecar {
	if c.Mode == config.ModeOff {
		return sidecar{}
	}
	s := sidecar{
		api: tailnet.NewLocalAPI(c.Socket), hostname: c.Hostname,
		watch: tailnet.Config{PollInterval: c.PollInterval, Hostname: c.Hostname, ReachabilityPeer: c.ReachabilityPeer},
	}
	if c.IdentifyCallers {
		s.callers = callers.New(s.api)
		s.identify = func(c edge.Client) (proxy.Caller, bool) {
			who, ok := s.callers.Lookup(c.Context(), c.Peer)
			return proxy.Caller{Node: who.Node, Tags: who.Tags}, ok
		}
	}
	return s
}

func (s sidecar) close() {
	if s.api != nil {
		s.api.Close()
	}
}
