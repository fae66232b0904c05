package supervisor

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
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
	keyExpiry time.Time // set before the service starts; zero means never

	mu      sync.Mutex
	state   string        // the backend's
	changed chan struct{} // closed when the state becomes another
}

func newDaemon(t *testing.T, state string) *daemon {
	t.Helper()
	d := &daemon{socket: filepath.Join(t.TempDir(), "s.sock"), state: state, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/localapi/v0/status", func(w http.ResponseWriter, _ *http.Request) {
		ips := []netip.Addr{netip.MustParseAddr("100.64.0.7")}
		self := &ipnstate.PeerStatus{DNSName: "anthropic-oauth-proxy.tail-scale.ts.net.", TailscaleIPs: ips, Online: true, InNetworkMap: true}
		if !d.keyExpiry.IsZero() {
			self.KeyExpiry = &d.keyExpiry
		}
		state, _ := d.now()
		_ = json.NewEncoder(w).Encode(ipnstate.Status{
			BackendState: state, HaveNodeKey: true, TailscaleIPs: ips, Self: self,
		})
	})
	mux.HandleFunc("/localapi/v0/whois", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(apitype.WhoIsResponse{Node: &tailcfg.Node{ComputedName: "laptop", Tags: []string{"tag:dev"}}})
	})
	mux.HandleFunc("/localapi/v0/watch-ipn-bus", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, changed := d.now()
			_ = json.NewEncoder(w).Encode(ipn.Notify{Version: "test"})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-changed:
			case <-r.Context().Done():
			}
		}
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

// set changes the state and says on the bus that something is new.
func (d *daemon) set(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = state
	close(d.changed)
	d.changed = make(chan struct{})
}

// now is the state, and what is closed when it is no longer that.
func (d *daemon) now() (string, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.changed
}
