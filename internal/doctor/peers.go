package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"tailscale.com/ipn/ipnstate"
)

// lookPaths tells peers that are reached through a relay only.
func lookPaths(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	var direct, relayed []string
	for _, p := range e.status.Peer {
		switch {
		case !p.Active:
		case p.CurAddr != "":
			direct = append(direct, p.HostName)
		case p.Relay != "":
			relayed = append(relayed, fmt.Sprintf("%s (by %s)", p.HostName, p.Relay))
		}
	}
	if len(relayed) > 0 {
		slices.Sort(relayed)
		const shown = 5
		if n := len(relayed) - shown; n > 0 {
			relayed = append(relayed[:shown], fmt.Sprintf("%d more", n))
		}
		return warn(fmt.Sprintf("reached through a relay alone: %s; direct: %d", strings.Join(relayed, ", "), len(direct)),
			"A relay is slower and may be limited: let UDP 41641 out of the node, or in to it.", "ProxyTimeToFirstByteHigh")
	}
	return ok("%d active peers, none through a relay alone", len(direct))
}

// apertureName is the name that Aperture's own documentation gives its node.
const apertureName = "ai"

// lookAperture asks Aperture through tailscaled, where the tailnet has it.
func lookAperture(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	peer := e.peer(apertureName)
	if peer == nil {
		return skipped("no peer is named %q: either there is no Aperture, or this node may not see it", apertureName)
	}
	if !peer.Online {
		return warn(fmt.Sprintf("the peer %q is offline", apertureName), "See in the admin console when it was last there.", "Aperture")
	}
	if len(peer.TailscaleIPs) == 0 {
		return skipped("the peer %q has no address", apertureName)
	}
	conn, err := e.client().DialTCP(ctx, peer.TailscaleIPs[0].String(), 80)
	if err != nil {
		return warn(fmt.Sprintf("tailscaled does not connect us to %q: %v", apertureName, err),
			fmt.Sprintf("Try from a client: curl -I http://%s/. A grant from this node to it is needed for this look alone.", apertureName), "Aperture")
	}
	defer conn.Close()
	if deadline, bounded := ctx.Deadline(); bounded {
		_ = conn.SetDeadline(deadline)
	}
	code, err := askOver(conn, apertureName, "/")
	if err != nil {
		return warn(fmt.Sprintf("%q gives no answer: %v", apertureName, err), fmt.Sprintf("Try from a client: curl -I http://%s/.", apertureName), "Aperture")
	}
	return ok("%q answers %d", apertureName, code)
}

// peer is the node of that short name in our own tailnet: nodes that others
// share with us may have the same one.
func (e *examination) peer(name string) *ipnstate.PeerStatus {
	_, domain, _ := strings.Cut(e.status.Self.DNSName, ".")
	for _, p := range e.status.Peer {
		if strings.EqualFold(p.DNSName, name+"."+domain) {
			return p
		}
	}
	return nil
}

// askOver sends one request over a connection of its own.
func askOver(conn net.Conn, host, path string) (code int, err error) {
	if _, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodHead})
	if err != nil {
		return 0, errors.New("its answer cannot be read")
	}
	return res.StatusCode, res.Body.Close()
}
