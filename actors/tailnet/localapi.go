package tailnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// LocalAPI is the Source over tailscaled's Unix socket. It is safe for
// concurrent use, but for Ping, which is its one Actor's.
type LocalAPI struct {
	client    local.Client
	transport *http.Transport
	peer      netip.Addr // what name was resolved to; invalid when it was not
	name      string
}

// NewLocalAPI makes a source for the socket at path. It dials nothing yet.
func NewLocalAPI(socket string) *LocalAPI {
	transport := newTransport(socket)
	return &LocalAPI{transport: transport, client: local.Client{
		Socket: socket, UseSocketOnly: true, OmitAuth: true, Transport: transport,
	}}
}

// Close drops the idle connection. The source may be used again.
func (l *LocalAPI) Close() { l.transport.CloseIdleConnections() }

// newTransport dials tailscaled's socket at path for every request. The
// client's own dialer would retry a refused dial until the context ends, and a
// bare dial error would make the client run systemctl for a hint.
func newTransport(socket string) *http.Transport {
	var d net.Dialer
	return &http.Transport{
		MaxIdleConns:    2,
		IdleConnTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, fmt.Errorf("reach tailscaled: %w", err)
			}
			return c, nil
		},
	}
}

// Status asks for the daemon's own state, without peers.
func (l *LocalAPI) Status(ctx context.Context) (*ipnstate.Status, error) {
	return l.client.StatusWithoutPeers(ctx)
}

// Watch follows the IPN bus.
func (l *LocalAPI) Watch(ctx context.Context, wake func(Warnings)) error {
	bus, err := l.client.WatchIPNBus(ctx, ipn.NotifyInitialState|ipn.NotifyInitialHealthState)
	if err != nil {
		return fmt.Errorf("open bus: %w", err)
	}
	defer bus.Close()
	for {
		n, err := bus.Next()
		if err != nil {
			return fmt.Errorf("read bus: %w", err)
		}
		var w Warnings
		if n.Health != nil {
			w = warningsOf(n.Health)
		}
		wake(w)
	}
}

// WhoIsProto names the node behind an open connection. It costs tailscaled
// dearly when there is none: see package callers, which rations it.
func (l *LocalAPI) WhoIsProto(ctx context.Context, proto, remoteAddr string) (*apitype.WhoIsResponse, error) {
	return l.client.WhoIsProto(ctx, proto, remoteAddr)
}

// Ping asks the peer by disco, which every node answers below its firewall, and
// then by TSMP, which proves the WireGuard path.
func (l *LocalAPI) Ping(ctx context.Context, peer string) error {
	addr, err := l.resolve(ctx, peer)
	if err != nil {
		return fmt.Errorf("resolve peer: %w", err)
	}
	half := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	disco := l.pingBy(half, addr, tailcfg.PingDisco)
	if disco == nil {
		return nil
	}
	tsmp := l.pingBy(ctx, addr, tailcfg.PingTSMP)
	if tsmp == nil {
		return nil
	}
	l.peer = netip.Addr{} // it may have another address by the next ping
	return errors.Join(disco, tsmp)
}

func (l *LocalAPI) pingBy(ctx context.Context, addr netip.Addr, kind tailcfg.PingType) error {
	res, err := l.client.Ping(ctx, addr, kind)
	if err != nil {
		return fmt.Errorf("ping by %s: %w", kind, err)
	}
	if res.Err != "" {
		return fmt.Errorf("ping by %s: %s", kind, res.Err)
	}
	return nil
}

// resolve asks for the peers once per name: with thousands of them the answer
// is large.
func (l *LocalAPI) resolve(ctx context.Context, peer string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(peer); err == nil {
		return addr, nil
	}
	if l.name == peer && l.peer.IsValid() {
		return l.peer, nil
	}
	st, err := l.client.Status(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	want := strings.TrimSuffix(strings.ToLower(peer), ".")
	for _, p := range st.Peer {
		fqdn := strings.TrimSuffix(strings.ToLower(p.DNSName), ".")
		short, _, _ := strings.Cut(fqdn, ".")
		if (want == fqdn || want == short) && len(p.TailscaleIPs) > 0 {
			l.name, l.peer = peer, p.TailscaleIPs[0]
			return l.peer, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no peer named %q", peer)
}
