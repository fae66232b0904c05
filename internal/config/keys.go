package config

import (
	"fmt"
	"strings"
)

// key is one key of the file, declared here and nowhere else: the defaults, the
// example file, README's table and the printed configuration are made of it.
// Its type is that of its field in [document].
type key struct {
	name    string // in full, such as "proxy.timeout_secs"
	def     string // the default, as TOML
	except  string // when another default holds, for README
	meaning string // one sentence or a few; README and the example show it
}

var keys = []key{
	{name: "tailscale.mode", def: `"sidecar"`, except: "`\"off\"` without a file",
		meaning: `"sidecar" watches the tailscaled behind the socket, "off" watches no tailnet, for a laptop. Without any file the service runs with "off".`},
	{name: "tailscale.hostname", def: `"anthropic-oauth-proxy"`,
		meaning: "The MagicDNS short name that the node should have. A different real name is a warning, not an error. TAILSCALE_HOSTNAME overrides it."},
	{name: "tailscale.socket", def: `"/var/run/tailscale/tailscaled.sock"`,
		meaning: "tailscaled's local API. TAILSCALE_SOCKET overrides it."},
	{name: "tailscale.poll_interval_secs", def: "2",
		meaning: "No answer of tailscaled older than this is believed; it is asked twice in that time."},
	{name: "tailscale.connect_timeout_secs", def: "60",
		meaning: "How long the start-up waits for the tailnet; the sidecar's own boot timeout."},
	{name: "tailscale.state_dir", def: `"/var/lib/ts-state"`,
		meaning: "Accepted and unused: the sidecar owns its state."},
	{name: "tailscale.auth_key_file", def: `""`,
		meaning: "A file with an auth key, empty for none. Accepted and unused: the sidecar logs in by itself. With TS_AUTHKEY set the file is not read."},
	{name: "tailscale.reachability_peer", def: `""`,
		meaning: "A tailnet name or address to ping, as evidence that peers can reach this node. Empty for none."},
	{name: "tailscale.identify_callers", def: "false",
		meaning: "Ask tailscaled which node is behind each connection, for the log."},

	{name: "proxy.listen_addr", def: `"127.0.0.1:8080"`,
		meaning: "Where clients arrive. The sidecar dials loopback, so nothing else need reach it."},
	{name: "proxy.admin_addr", def: `"127.0.0.1:9090"`,
		meaning: `Metrics, probes and the status page. Kubernetes probes need ":9090".`},
	{name: "proxy.upstream_url", def: `"https://api.anthropic.com"`,
		meaning: "Scheme and host of the API; https unless the host is loopback."},
	{name: "proxy.upstream_ca_file", def: `""`,
		meaning: "A PEM file of CA certificates that are trusted beside the system's, for a network that looks into TLS. Empty for none."},
	{name: "proxy.egress_proxy", def: `""`,
		meaning: "An http or https URL of the network's proxy, asked with CONNECT for every connection to the API; USER:PASSWORD@ may stand before the host. " +
			"Empty for none: HTTPS_PROXY and its like are not read."},
	{name: "proxy.timeout_secs", def: "660",
		meaning: "The wait for response headers, counted from the end of the upload. A client that names a longer one in x-stainless-timeout gets that, up to an hour. " +
			"Just above the 600 s at which Claude Code and the SDKs give up by themselves."},
	{name: "proxy.idle_timeout_secs", def: "240",
		meaning: "The longest silence between body bytes, in both directions. Below the 300 s at which Claude Code ends a silent stream badly; the API pings far more often."},
	{name: "proxy.max_connections", def: "1000",
		meaning: "Proxied requests that run at the same time; more of them wait in order."},
	{name: "proxy.queue_timeout_secs", def: "30",
		meaning: "How long they wait before they are refused with 503. 0 refuses at once."},
	{name: "proxy.max_body_mib", def: "512",
		meaning: "The largest request body, in MiB. Bodies stream, so the API's own limits (up to 500 MB) may rule; a smaller one breaks Claude Code sessions for good once they reach it."},
	{name: "proxy.drain_timeout_secs", def: "5",
		meaning: "What streams get to finish in at shutdown. 0 ends them at once."},
	{name: "proxy.admin_pprof", def: "false",
		meaning: "Go's profiles and a dump of all goroutines under /debug/pprof/ on the admin port. Refused unless admin_addr is loopback."},

	{name: "headers[].name", def: `"anthropic-beta"`,
		meaning: "Any name but the credentials (authorization, x-api-key), host, content-length and the hop-by-hop ones."},
	{name: "headers[].value", def: `"oauth-2025-04-20"`,
		meaning: "One line of plain text."},
	{name: "headers[].mode", def: `"merge"`, except: "`\"set\"` for any other name",
		meaning: `"merge" appends to the comma-separated list what is not in it yet, "set" replaces, "default" speaks only when the client does not send the header.`},
}

// table and leaf are the two halves of a key's name.
func (k key) table() string {
	return strings.TrimSuffix(k.name[:strings.LastIndexByte(k.name, '.')], "[]")
}
func (k key) leaf() string { return k.name[strings.LastIndexByte(k.name, '.')+1:] }

// head is how a file opens the key's table.
func (k key) head() string {
	if strings.Contains(k.name, "[]") {
		return "[[" + k.table() + "]]"
	}
	return "[" + k.table() + "]"
}

const (
	exampleHead = "Every key of anthropic-oauth-proxy with its default. A file may leave out any of them; it may not contain others. " +
		"Name it with --config or CONFIG_PATH. LOG_LEVEL, TS_AUTHKEY, TAILSCALE_SOCKET and TAILSCALE_HOSTNAME are read from the environment. " +
		"Seconds may have fractions. Check a file with: anthropic-oauth-proxy check-config"
	headersHead = "Headers to add to every proxied request. The first [[headers]] table in a file replaces this default; " +
		`"headers = []" above all tables adds none.`
)

// example is the example file: every key with its default and its meaning.
func example() string {
	var b strings.Builder
	comment(&b, exampleHead)
	for i, k := range keys {
		if i == 0 || keys[i-1].table() != k.table() {
			b.WriteByte('\n')
			if k.table() == "headers" {
				comment(&b, headersHead)
			}
			b.WriteString(k.head() + "\n")
		}
		comment(&b, k.meaning)
		fmt.Fprintf(&b, "%s = %s\n", k.leaf(), k.def)
	}
	return b.String()
}

// comment writes text as lines of at most 80 columns.
func comment(b *strings.Builder, text string) {
	const columns = 80
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > columns {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
