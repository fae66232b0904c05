package tailnet

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"tailscale.com/ipn/ipnstate"
)

// peer is a node as Ping asks for it; the zero peer is nobody.
type peer struct {
	asked string // the name that it was asked for by
	fqdn  string // its full name in lower case without the last dot; empty when it was asked for by address
	addr  netip.Addr
}

// answersAs reports whether an answer by a node of that name, if it has one, is
// the peer's: an address may have been given to another node meanwhile.
func (p peer) answersAs(name string) bool {
	got, want := canonical(name), p.fqdn
	if got == "" || want == "" {
		return true
	}
	if !strings.Contains(got, ".") { // by disco the first label is all there is
		want, _, _ = strings.Cut(want, ".")
	}
	return got == want
}

// resolve asks for the peers once per name: with thousands of them the answer
// is large.
func (l *LocalAPI) resolve(ctx context.Context, name string) (peer, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return peer{asked: name, addr: addr}, nil
	}
	if l.peer.asked == name && l.peer.addr.IsValid() {
		return l.peer, nil
	}
	st, err := ask[ipnstate.Status](ctx, l, http.MethodGet, "status", maxPeers)
	if err != nil {
		return peer{}, err
	}
	found, err := findPeer(st, name)
	if err != nil {
		return peer{}, err
	}
	l.peer = found
	return found, nil
}

// findPeer takes a short name for a node of our own tailnet, as MagicDNS does:
// nodes that others share with us may have the same one. Whoever means such a
// node names it in full.
func findPeer(st *ipnstate.Status, name string) (peer, error) {
	want := canonical(name)
	if !strings.Contains(want, ".") {
		suffix := magicDNSSuffix(st.Self)
		if suffix == "" {
			return peer{}, fmt.Errorf("the tailnet has no name yet in which to look for %q", name)
		}
		want += "." + suffix
	}
	var found []peer
	for _, p := range st.Peer {
		if p != nil && canonical(p.DNSName) == want && len(p.TailscaleIPs) > 0 {
			found = append(found, peer{asked: name, fqdn: want, addr: p.TailscaleIPs[0]})
		}
	}
	switch len(found) {
	case 0:
		return peer{}, fmt.Errorf("no peer is named %s", want)
	case 1:
		return found[0], nil
	default:
		return peer{}, fmt.Errorf("%d peers are named %s", len(found), want)
	}
}

// magicDNSSuffix is the domain of our own node's name, without dots around it;
// empty when it has none.
func magicDNSSuffix(self *ipnstate.PeerStatus) string {
	if self == nil {
		return ""
	}
	_, suffix, _ := strings.Cut(canonical(self.DNSName), ".")
	return suffix
}

// canonical is a DNS name in lower case without its last dot.
func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
