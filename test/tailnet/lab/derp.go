package lab

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// derp is a relay and a STUN server on loopback, the relay behind a gate.
type derp struct {
	server *derpserver.Server
	http   *httptest.Server
	gate   *Gate
	stun   net.PacketConn
	wg     sync.WaitGroup
}

func startDERP() (*derp, error) {
	d := &derp{server: derpserver.New(key.NewNode(), func(string, ...any) {})}
	d.http = httptest.NewUnstartedServer(derpserver.Handler(d.server))
	d.http.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} // it hijacks: no HTTP/2
	d.http.Config.ErrorLog = quiet
	d.http.StartTLS()
	var err error
	if d.gate, err = newGate(d.http.Listener.Addr().String()); err != nil {
		d.http.Close()
		return nil, err
	}
	if d.stun, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
		d.gate.Close()
		d.http.Close()
		return nil, fmt.Errorf("open STUN: %w", err)
	}
	d.wg.Go(d.answerSTUN)
	return d, nil
}

func (d *derp) close() {
	d.stun.Close()
	d.gate.Close()
	d.server.Close()
	d.http.CloseClientConnections()
	d.http.Close()
	d.wg.Wait()
}

func (d *derp) answerSTUN() {
	buf := make([]byte, 1500)
	for {
		n, from, err := d.stun.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		tx, err := stun.ParseBindingRequest(buf[:n])
		if err != nil {
			continue
		}
		addr := from.(*net.UDPAddr).AddrPort()
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		_, _ = d.stun.WriteTo(stun.Response(tx, addr), from) // UDP may drop it as well
	}
}

// relays is the one region that nodes know.
func (d *derp) relays() *tailcfg.DERPMap {
	return &tailcfg.DERPMap{
		OmitDefaultRegions: true,
		Regions: map[int]*tailcfg.DERPRegion{1: {
			RegionID: 1, RegionCode: "lab", RegionName: "Lab",
			Nodes: []*tailcfg.DERPNode{{
				Name: "lab1", RegionID: 1, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
				STUNPort: d.stun.LocalAddr().(*net.UDPAddr).Port, STUNTestIP: "127.0.0.1",
				DERPPort: d.gate.Addr().Port, InsecureForTests: true,
			}},
		}},
	}
}
