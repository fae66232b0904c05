package tailnet

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/types/key"

	"anthropic-oauth-proxy/internal/testkit"
)

// tailnet is a LocalAPI that knows peers and pings them.
type tailnet struct {
	peers         atomic.Pointer[map[key.NodePublic]*ipnstate.PeerStatus]
	statuses      atomic.Int32
	discos, tsmps atomic.Int32
	fails         atomic.Bool            // neither kind of ping is answered
	names         atomic.Pointer[string] // of whoever answers, when it is not the peer
}

func newTailnet(peers ...*ipnstate.PeerStatus) *tailnet {
	n := &tailnet{}
	n.know(peers...)
	return n
}

func (n *tailnet) know(peers ...*ipnstate.PeerStatus) {
	byKey := map[key.NodePublic]*ipnstate.PeerStatus{}
	for _, p := range peers {
		byKey[key.NewNode().Public()] = p
	}
	n.peers.Store(&byKey)
}

func (n *tailnet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/localapi/v0/status":
		n.statuses.Add(1)
		st := running()
		st.Peer = *n.peers.Load()
		_ = json.NewEncoder(w).Encode(st)
	case "/localapi/v0/ping":
		_ = json.NewEncoder(w).Encode(n.ping(r.FormValue("ip"), r.FormValue("type")))
	}
}

// ping answers by TSMP alone.
func (n *tailnet) ping(ip, kind string) ipnstate.PingResult {
	res := ipnstate.PingResult{IP: ip, Err: "no matching peer"}
	for _, p := range *n.peers.Load() {
		if p == nil || p.TailscaleIPs[0].String() != ip {
			continue
		}
		res.NodeName, _, _ = strings.Cut(p.DNSName, ".")
		if name := n.names.Load(); name != nil {
			res.NodeName = *name
		}
		switch {
		case kind == "disco":
			n.discos.Add(1)
			res.Err = "disco is blocked"
		case n.fails.Load():
			n.tsmps.Add(1)
			res.Err = "timeout"
		default:
			n.tsmps.Add(1)
			res.Err = ""
		}
	}
	return res
}

func node(name, ip string) *ipnstate.PeerStatus {
	return &ipnstate.PeerStatus{DNSName: name, TailscaleIPs: []netip.Addr{netip.MustParseAddr(ip)}}
}

func TestPingResolvesOnceAndFallsBackToTSMP(t *testing.T) {
	n := newTailnet(node("AI.tail-scale.ts.net.", "100.64.0.9"))
	src := source(t, testkit.ServeUnix(t, n))
	other := "other"
	for _, phase := range []struct {
		name, peer string
		fails      bool
		answers    *string
		wantErr    bool
		statuses   int32
	}{
		{"by short name", "ai", false, nil, false, 1},
		{"again, from memory", "ai", false, nil, false, 1},
		{"a miss forgets the address", "ai", true, nil, true, 1},
		{"so it is resolved again", "ai", false, nil, false, 2},
		{"another node has the address now", "ai", false, &other, true, 2},
		{"by FQDN", "ai.tail-scale.ts.net.", false, nil, false, 3},
		{"by address, unresolved", "100.64.0.9", false, nil, false, 3},
		{"nobody of that name", "nobody", false, nil, true, 4},
	} {
		n.fails.Store(phase.fails)
		n.names.Store(phase.answers)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := src.Ping(ctx, phase.peer)
		cancel()
		if (err != nil) != phase.wantErr || n.statuses.Load() != phase.statuses {
			t.Fatalf("%s: error %v, %d statuses, want %d", phase.name, err, n.statuses.Load(), phase.statuses)
		}
	}
	if n.discos.Load() == 0 || n.tsmps.Load() != n.discos.Load() {
		t.Errorf("%d disco and %d TSMP pings, want as many", n.discos.Load(), n.tsmps.Load())
	}
}

// A short name means a node of our own tailnet. Maps have no order, so each case
// is tried often.
func TestAShortNameIsOurOwnTailnets(t *testing.T) {
	ours, theirs := node("ai.tail-scale.ts.net.", "100.64.0.9"), node("ai.stranger.ts.net.", "100.99.0.1")
	twin := node("ai.tail-scale.ts.net.", "100.64.0.10")
	for _, tc := range []struct {
		name  string
		peers []*ipnstate.PeerStatus
		ask   string
		want  string // an address, or a part of the error
	}{
		{"ours beside a stranger's", []*ipnstate.PeerStatus{ours, theirs}, "ai", "100.64.0.9"},
		{"a stranger's alone", []*ipnstate.PeerStatus{theirs}, "ai", "no peer is named ai.tail-scale.ts.net"},
		{"a stranger's, named in full", []*ipnstate.PeerStatus{ours, theirs}, "AI.stranger.ts.net.", "100.99.0.1"},
		{"two of ours", []*ipnstate.PeerStatus{ours, twin}, "ai", "2 peers are named"},
		{"a peer that is null", []*ipnstate.PeerStatus{nil, ours}, "ai", "100.64.0.9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 20 {
				n := newTailnet(tc.peers...)
				st := running()
				st.Peer = *n.peers.Load()
				got, err := findPeer(st, tc.ask)
				if said := got.addr.String(); err == nil && said != tc.want || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("found %s, %v; want %s", said, err, tc.want)
				}
			}
		})
	}
	if _, err := findPeer(&ipnstate.Status{}, "ai"); err == nil {
		t.Error("a name was found in a tailnet that has none")
	}
}
