package config

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// WriteTo writes the effective configuration as TOML that Load accepts, without
// anything confidential: of header values only those of anthropic-beta are
// shown, of the auth key only that it is there.
func (c Config) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# source: %s\n# LOG_LEVEL: %s\n", printable(c.Source), c.LogLevel)
	if c.Tailscale.AuthKey.IsSet() {
		fmt.Fprintf(&b, "# auth key: %s\n", c.Tailscale.AuthKey)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", warning)
	}
	if len(c.Headers) == 0 {
		b.WriteString("\nheaders = []\n")
	}
	ts, p := c.Tailscale, c.Proxy
	fmt.Fprintf(&b, `
[tailscale]
mode = %s
hostname = %s
socket = %s
poll_interval_secs = %s
connect_timeout_secs = %s
state_dir = %s
reachability_peer = %s
identify_callers = %t

[proxy]
listen_addr = %s
admin_addr = %s
upstream_url = %s
upstream_ca_file = %s
egress_proxy = %s
timeout_secs = %s
idle_timeout_secs = %s
max_connections = %d
queue_timeout_secs = %s
max_body_mib = %d
drain_timeout_secs = %s
admin_pprof = %t
`,
		quote(string(ts.Mode)), quote(ts.Hostname), quote(ts.Socket), seconds(ts.PollInterval),
		seconds(ts.ConnectTimeout), quote(ts.StateDir), quote(ts.ReachabilityPeer), ts.IdentifyCallers,
		quote(p.ListenAddr), quote(p.AdminAddr), quote(p.Upstream.String()), quote(p.UpstreamCAFile), quote(p.EgressProxy.String()), seconds(p.HeaderTimeout),
		seconds(p.IdleTimeout), p.MaxConnections, seconds(p.QueueTimeout), p.MaxBodyBytes>>20, seconds(p.DrainTimeout), p.AdminPprof)
	for _, rule := range c.Headers {
		value := redacted
		if rule.Name() == headers.BetaName {
			value = rule.Value()
		}
		fmt.Fprintf(&b, "\n[[headers]]\nname = %s\nvalue = %s\nmode = %s\n",
			quote(rule.Name()), quote(value), quote(string(rule.Mode())))
	}
	return b.WriteTo(w)
}

// quote writes a TOML string. Go's syntax is TOML's for text without control
// characters, and validation lets no other through.
func quote(s string) string { return strconv.Quote(s) }

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
