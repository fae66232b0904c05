// Package config turns the command line, the environment and one TOML file
// into a [Config] of ready-to-use types, or into errors that name the file, the
// line, the key and the remedy.
//
// Flags win over the environment, the environment over the file, the file over
// the defaults. Everything is validated once, here; nobody checks again later.
// No error, warning or print ever repeats a configured value: a credential in
// the wrong place must not end up in a log.
package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/headers"
)

// Config is the whole configuration, valid and immutable.
type Config struct {
	// Source is the file that was read, or "built-in defaults".
	Source    string
	Tailscale Tailscale
	Proxy     Proxy
	// Headers are applied to every proxied request, in order.
	Headers  []headers.Rule
	LogLevel zerolog.Level
	inForce  document // for WriteTo
	// Warnings are for a person: what is allowed but probably not meant.
	Warnings []string
}

// Mode says how the service learns about its tailnet.
type Mode string

// The modes, named as in the configuration file.
const (
	// ModeSidecar watches the tailscaled behind [Tailscale.Socket].
	ModeSidecar Mode = "sidecar"
	// ModeOff watches nothing: for a laptop.
	ModeOff Mode = "off"
)

// Tailscale is about the tailnet.
type Tailscale struct {
	Mode Mode
	// Hostname is the MagicDNS short name that the node should have, in lower
	// case. A different real name is worth a warning.
	Hostname string
	// Socket is the path of tailscaled's local API.
	Socket string
	// PollInterval is the time between two looks at tailscaled.
	PollInterval time.Duration
	// ConnectTimeout is how long the start-up waits for the tailnet.
	ConnectTimeout time.Duration
	// StateDir and AuthKey are accepted and unused: the sidecar owns its state
	// and logs in by itself.
	StateDir string
	AuthKey  Secret
	// ReachabilityPeer is a tailnet name or address to ping, empty for none.
	ReachabilityPeer string
	// IdentifyCallers asks tailscaled who is behind each connection.
	IdentifyCallers bool
}

// Proxy is about the data plane. Every duration is positive unless it says
// otherwise.
type Proxy struct {
	// ListenAddr and AdminAddr are "host:port" for [net.Listen]. They do not
	// clash; port 0 lets the system choose.
	ListenAddr, AdminAddr string
	// Upstream has a scheme and a host and nothing else. It is https unless the
	// host is loopback.
	Upstream *url.URL
	// UpstreamCAFile is where UpstreamRoots come from, empty for none. The roots
	// are the system's and those of the file; nil means the system's alone. They
	// are shared: nobody may add to them.
	UpstreamCAFile string
	UpstreamRoots  *x509.CertPool
	// EgressProxy is the only way to the API, nil for a direct one. The
	// environment (HTTPS_PROXY) is never asked.
	EgressProxy *EgressProxy
	// HeaderTimeout is the wait for response headers after the upload.
	HeaderTimeout time.Duration
	// IdleTimeout is the longest silence between body bytes, in both directions.
	IdleTimeout time.Duration
	// QueueTimeout is the wait for a free slot; zero refuses at once.
	QueueTimeout time.Duration
	// DrainTimeout is what streams get to finish in; zero ends them at once.
	DrainTimeout time.Duration
	// MaxConnections is how many proxied requests run at the same time.
	MaxConnections int
	// MaxBodyBytes is the largest request body.
	MaxBodyBytes int64
	// AdminPprof asks for pprof and goroutine dumps on the admin port, which is
	// loopback then.
	AdminPprof bool
}

// Sources is where the configuration comes from.
type Sources struct {
	// Path is the file that the --config flag names, empty for none.
	Path string
	// Getenv reads the environment; an empty variable counts as not set.
	Getenv func(string) string
}

// Load reads and validates the configuration. With no file named at all it
// returns the defaults with the tailnet switched off. A failure is one or more
// [*Error], joined, in the order of the file: names and types first, values
// when those are right, never more than a screenful.
func Load(from Sources) (Config, error) {
	env, err := readEnvironment(from.Getenv)
	path, namedBy := from.Path, "--config"
	if path == "" {
		path, namedBy = env.configPath, "CONFIG_PATH"
	}
	if path == "" {
		doc := defaults()
		doc.Tailscale.Mode = string(ModeOff)
		return build(builtIn, doc, nil, env, err)
	}
	data, readErr := readFile(path, maxFileBytes)
	if readErr != nil {
		return Config{}, joined(err, &Error{
			File: path, Key: namedBy, Problem: "cannot be read: " + readErr.Error(), cause: readErr,
			Remedy: "name a readable file, or none at all to run on the defaults",
		})
	}
	doc, keys, decodeErr := decode(path, data)
	if decodeErr != nil {
		return Config{}, joined(err, decodeErr)
	}
	return build(path, doc, keys, env, err)
}
