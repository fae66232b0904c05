package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/types/key"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/messages"
)

const (
	sectionNotConnected = "ProxyTailnetNotConnected"
	sectionName         = "The name anthropic-oauth-proxy does not resolve, or leads elsewhere"
)

// off says that no tailnet is wanted.
func (e *examination) off() bool { return e.Config.Tailscale.Mode == config.ModeOff }

// client asks tailscaled over its socket, and nobody else.
func (e *examination) client() *local.Client {
	socket := e.Config.Tailscale.Socket
	return &local.Client{Socket: socket, UseSocketOnly: true, OmitAuth: true, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err != nil {
				// A bare dial error would make the client run systemctl for a hint.
				return nil, fmt.Errorf("reach tailscaled: %w", err)
			}
			return c, nil
		},
	}}
}

func lookSocket(ctx context.Context, e *examination) Finding {
	if e.off() {
		return skipped("no tailnet is wanted (tailscale.mode = \"off\")")
	}
	path := e.Config.Tailscale.Socket
	next := func(r messages.Reason) string { return r.Remedy() }
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fail(path+" is in a directory that this user may not enter", next(messages.ReasonPermissionDenied), sectionNotConnected)
	case err != nil:
		return fail(path+" does not exist", next(messages.ReasonSocketAbsent), sectionNotConnected)
	case info.Mode()&fs.ModeSocket == 0:
		return fail(path+" is no socket", next(messages.ReasonNotASocket), sectionNotConnected)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return ok("%s accepts connections (mode %s)", path, info.Mode().Perm())
	case errors.Is(err, syscall.EACCES):
		return fail(fmt.Sprintf("this user may not open %s (mode %s)", path, info.Mode().Perm()), next(messages.ReasonPermissionDenied), sectionNotConnected)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("nobody listens on "+path, next(messages.ReasonRefused), sectionNotConnected)
	}
	return fail(fmt.Sprintf("%s cannot be opened: %v", path, err), next(messages.ReasonPollFailed), sectionNotConnected)
}

// ask asks tailscaled once, with its peers.
func (e *examination) ask(ctx context.Context) {
	if e.askedTailnet {
		return
	}
	e.askedTailnet = true
	e.status, e.statusErr = e.client().Status(ctx)
	if e.statusErr != nil {
		e.status = nil
	}
	if e.status != nil { // what answers need not be tailscaled
		maps.DeleteFunc(e.status.Peer, func(_ key.NodePublic, p *ipnstate.PeerStatus) bool { return p == nil })
	}
	e.tailnet = e.Classify(e.status, e.statusErr)
}

func lookTailnet(ctx context.Context, e *examination) Finding {
	if e.off() {
		return skipped("no tailnet is wanted (tailscale.mode = \"off\")")
	}
	e.ask(ctx)
	t := e.tailnet
	says := fmt.Sprintf("not connected: %s", t.Reason)
	if meaning := t.Reason.Meaning(); meaning != "" {
		says += ", " + meaning
	}
	if t.Detail != "" {
		says += " (" + t.Detail + ")"
	}
	switch {
	case e.status == nil && unreachable(t.Reason):
		return skipped("tailscaled cannot be asked: %s", t.Reason)
	case t.Link != messages.LinkConnected:
		return fail(says, t.Reason.Remedy(), sectionNotConnected)
	case len(slices.DeleteFunc(slices.Clone(t.Impaired), func(i messages.Impairment) bool {
		return i == messages.ImpairedKeyExpiring || i == messages.ImpairedNameDiffers
	})) > 0:
		return warn(fmt.Sprintf("connected, but impaired: %v %s", t.Impaired, t.Detail), "Peers may still reach us; see what the sidecar's log says.", "ProxyTailnetImpaired")
	}
	return ok("connected, at %s", t.IP)
}

// unreachable tells the reasons of which the look at the socket has spoken.
func unreachable(r messages.Reason) bool {
	return r == messages.ReasonSocketAbsent || r == messages.ReasonRefused || r == messages.ReasonPermissionDenied || r == messages.ReasonNotASocket
}

// known is a finding in place of one that needs an answer of tailscaled.
func (e *examination) unknownTailnet(ctx context.Context) (Finding, bool) {
	if e.off() {
		return skipped("no tailnet is wanted (tailscale.mode = \"off\")"), true
	}
	e.ask(ctx)
	if e.status == nil || e.status.Self == nil {
		return skipped("tailscaled did not say"), true
	}
	return Finding{}, false
}

func lookName(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	is, want := e.tailnet.Hostname, e.Config.Tailscale.Hostname
	switch {
	case is == "":
		return skipped("the node has no name yet")
	case !strings.EqualFold(is, want):
		return warn(fmt.Sprintf("the node is named %s, configured is %s: clients that use the configured name do not come here", is, want),
			"Remove the old machine of that name in the admin console and rename this one, or set tailscale.hostname.", sectionName)
	}
	return ok("%s, as configured", is)
}

func lookMagicDNS(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	net := e.status.CurrentTailnet
	switch {
	case net == nil:
		return skipped("tailscaled did not say")
	case !net.MagicDNSEnabled:
		return warn("MagicDNS is off: no client finds the proxy by its name", "Switch MagicDNS on in the admin console, under DNS.", sectionName)
	case !strings.HasSuffix(strings.TrimSuffix(e.status.Self.DNSName, "."), net.MagicDNSSuffix):
		return warn(fmt.Sprintf("the node's name %s is not below the tailnet's suffix %s", e.status.Self.DNSName, net.MagicDNSSuffix),
			"Restart the sidecar: the tailnet was renamed.", sectionName)
	}
	return ok("clients reach %s", strings.TrimSuffix(e.status.Self.DNSName, "."))
}

func lookKey(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	const soon = 7 * 24 * time.Hour
	at := e.tailnet.KeyExpiry
	left := time.Until(at)
	switch {
	case at.IsZero():
		return ok("it does not expire")
	case left <= 0:
		return fail("it has expired at "+at.UTC().Format(time.RFC3339), messages.ReasonKeyExpired.Remedy(), "ProxyTailnetKeyExpiring")
	case left < soon:
		return warn(fmt.Sprintf("it expires in %d h", int(left.Hours())), "Disable key expiry for the node in the admin console, or log it in again before that.", "ProxyTailnetKeyExpiring")
	}
	return ok("it expires in %d d", int(left.Hours()/24))
}

// lookVersion compares the sidecar's release with the one whose API we speak.
func lookVersion(ctx context.Context, e *examination) Finding {
	if f, unknown := e.unknownTailnet(ctx); unknown {
		return f
	}
	const apart = 10 // minor releases, about a year
	theirs, ours := e.status.Version, ourTailscale()
	a, b := minor(theirs), minor(ours)
	switch {
	case a < 0 || b < 0:
		return ok("%s (ours is built for %s)", theirs, orUnknown(ours))
	case a < b-apart || a > b+apart:
		return warn(fmt.Sprintf("the sidecar runs %s, we are built for %s", theirs, ours), "Bring both to releases of the same year: the local API may have changed.", "")
	}
	return ok("%s, ours is built for %s", theirs, ours)
}

// minor is the number after the first dot, -1 without one.
func minor(version string) int {
	var major, n int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &n); err != nil {
		return -1
	}
	return n
}

func ourTailscale() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range info.Deps {
			if m.Path == "tailscale.com" {
				return m.Version
			}
		}
	}
	return ""
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown release"
	}
	return s
}
