package status

import (
	"time"

	"anthropic-oauth-proxy/messages"
)

// Sources are what a Snapshot is gathered from. Every function may be called
// from any goroutine and answers at once. State, Load, Totals and Recorder are
// required; what the others would tell is not known without them.
type Sources struct {
	Service Service // without its numbers
	APIURL  string  // without credentials
	// Expected is the node name of the configuration; empty when none is.
	Expected string

	State    func() messages.State
	Load     func() Load
	Totals   func() (served, failed uint64)
	Recorder *Recorder

	Port        func() Port
	Tree        func() []Domain
	Journal     func() []Entry // newest first
	Connections func() []Connection
	Log         func() LogAccount
}

// Take gathers a Snapshot of this moment, with its verdict.
func (s Sources) Take() Snapshot {
	now := time.Now()
	state := s.State()
	snap := Snapshot{
		Version: Version, At: now.UTC(), Service: s.Service, Load: s.Load(),
		Lifecycle: lifecycleOf(state, now), Tailnet: s.tailnet(state),
	}
	snap.Service.Served, snap.Service.Failed = s.Totals()
	snap.Traffic, snap.API = s.Recorder.window.read(now)
	snap.API.URL = s.APIURL
	snap.API.Headroom = s.Recorder.headroom.read(now)
	snap.Clients = s.Recorder.clients.read(now)
	snap.Streams = s.Recorder.streams.read(now, StreamsShown)
	if state.Phase == messages.Draining {
		snap.Drain = &Drain{By: state.Desired.DrainBy.UTC(), Left: snap.Load.Active}
	}
	s.ask(&snap)
	snap.Verdict = Judge(snap)
	return snap
}

// ask adds what not everybody can tell.
func (s Sources) ask(snap *Snapshot) {
	if s.Port != nil {
		snap.Port = s.Port()
	}
	if s.Tree != nil {
		snap.Tree = s.Tree()
	}
	if s.Journal != nil {
		snap.Journal = s.Journal()
	}
	if s.Connections != nil {
		snap.API.Connections = s.Connections()
	}
	if s.Log != nil {
		account := s.Log()
		snap.Log = &account
	}
}

func lifecycleOf(s messages.State, now time.Time) Lifecycle {
	silent := now.Sub(s.TickedAt)
	return Lifecycle{
		Phase: s.Phase, Since: s.Since.UTC(), SilentSeconds: silent.Seconds(), Stuck: silent >= StuckAfter,
		Ready: s.Desired.Ready && silent < StuckAfter, ExitCode: s.Exit.Code, ExitMessage: s.Exit.Message,
		Trouble: s.Trouble, TroubleMeaning: s.Trouble.Meaning(), TroubleDetail: s.TroubleDetail, TroubleRemedy: s.Trouble.Remedy(),
		TroubleSince: known(s.TroubleSince), StalledAt: known(s.StalledAt), StalledSeconds: s.StalledFor.Seconds(),
	}
}

func (s Sources) tailnet(state messages.State) Tailnet {
	is := state.Tailnet
	t := Tailnet{
		Link: is.Link, Reason: is.Reason, Detail: is.Detail, Impaired: is.Impaired, Backend: is.Backend,
		Hostname: is.Hostname, Expected: s.Expected, IP: is.IP,
		Remedy: is.Reason.Remedy(), Meaning: is.Reason.Meaning(), KeyExpiry: known(is.KeyExpiry), Since: known(state.TailnetSince), LookedAt: known(is.At),
	}
	if last := s.Recorder.window.newest.Load(); last != 0 {
		t.LastRequest = known(time.Unix(0, last))
	}
	return t
}

// known is nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
