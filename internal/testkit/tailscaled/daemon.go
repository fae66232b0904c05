// Package tailscaled plays the tailnet's daemon, as far as its LocalAPI goes.
package tailscaled

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"

	"anthropic-oauth-proxy/internal/testkit"
)

// Daemon is a tailscaled whose node is anthropic-oauth-proxy. It is safe for
// concurrent use.
type Daemon struct {
	// Socket is its path.
	Socket string

	mu        sync.Mutex
	state     string // the backend's
	keyExpiry time.Time
	hung      bool
	changed   chan struct{} // closed when any of it becomes another
}

// New makes one that serves until the test ends, its backend in a state.
func New(t testing.TB, state string) *Daemon {
	t.Helper()
	d := &Daemon{state: state, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/localapi/v0/status", d.status)
	mux.HandleFunc("/localapi/v0/whois", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(apitype.WhoIsResponse{Node: &tailcfg.Node{ComputedName: "laptop", Tags: []string{"tag:dev"}}})
	})
	mux.HandleFunc("/localapi/v0/watch-ipn-bus", d.bus)
	d.Socket = testkit.ServeUnix(t, mux)
	return d
}

func (d *Daemon) status(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	ips := []netip.Addr{netip.MustParseAddr("100.64.0.7")}
	self := &ipnstate.PeerStatus{DNSName: "anthropic-oauth-proxy.tail0000.ts.net.", TailscaleIPs: ips, Online: true, InNetworkMap: true}
	if !d.keyExpiry.IsZero() {
		expiry := d.keyExpiry
		self.KeyExpiry = &expiry
	}
	st := ipnstate.Status{BackendState: d.state, HaveNodeKey: true, TailscaleIPs: ips, Self: self}
	hung := d.hung
	d.mu.Unlock()
	if hung {
		<-r.Context().Done()
		return
	}
	_ = json.NewEncoder(w).Encode(st)
}

// bus says when something is new, and first that it is there.
func (d *Daemon) bus(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		_ = json.NewEncoder(w).Encode(ipn.Notify{Version: "test"})
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
	}
}

// Set changes the backend's state, and says on the bus that something is new.
func (d *Daemon) Set(state string) { d.change(func() { d.state = state }) }

// ExpireKey says when the node's key expires; the zero time is never.
func (d *Daemon) ExpireKey(at time.Time) { d.change(func() { d.keyExpiry = at }) }

// Hang has it accept every question for its status and answer none.
func (d *Daemon) Hang() { d.change(func() { d.hung = true }) }

func (d *Daemon) change(to func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	to()
	close(d.changed)
	d.changed = make(chan struct{})
}
