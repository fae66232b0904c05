package supervisor

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// daemon is a tailscaled as far as its LocalAPI goes.
type daemon struct {
	socket    string
	state     atomic.Pointer[string] // the backend's
	keyExpiry time.Time              // set before the service starts; zero means never
}

func newDaemon(t *testing.T, state string) *daemon {
	t.Helper()
	d := &daemon{socket: filepath.Join(t.TempDir(), "s.sock")}
	d.set(state)
	mux := http.NewServeMux()
	mux.HandleFunc("/localapi/v0/status", func(w http.ResponseWriter, _ *http.Request) {
		ips := []netip.Addr{netip.MustParseAddr("100.64.0.7")}
		self := &ipnstate.PeerStatus{DNSName: "anthropic-oauth-proxy.tail-scale.ts.net.", TailscaleIPs: ips, Online: true, InNetworkMap: true}
		if !d.keyExpiry.IsZero() {
			self.KeyExpiry = &d.keyExpiry
		}
		_ = json.NewEncoder(w).Encode(ipnstate.Status{
			BackendState: *d.state.Load(), HaveNodeKey: true, TailscaleIPs: ips, Self: self,
		})
	})
	mux.HandleFunc("/localapi/v0/whois", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(apitype.WhoIsResponse{Node: &tailcfg.Node{ComputedName: "laptop", Tags: []string{"tag:dev"}}})
	})
	mux.HandleFunc("/localapi/v0/watch-ipn-bus", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(ipn.Notify{Version: "test"})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ln, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(mux)
	server.Listener = ln
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return d
}

func (d *daemon) set(state string) { d.state.Store(&state) }
