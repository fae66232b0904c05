package config

import "anthropic-oauth-proxy/internal/headers"

// warnings says what is allowed but probably not meant, and which variables
// cannot have the effect that they are set for. cfg is valid.
func warnings(cfg Config, env environment) []string {
	var all []string
	if !headers.AddsOAuth(cfg.Headers) {
		all = append(all, "no [[headers]] rule adds "+headers.OAuthMember+
			" to anthropic-beta: the API will refuse OAuth tokens whose client does not ask for it")
	}
	if listen, _ := parseAddress(cfg.Proxy.ListenAddr); cfg.Tailscale.Mode == ModeSidecar && !listen.host.IsLoopback() {
		all = append(all, "proxy.listen_addr is not loopback: the sidecar dials loopback, "+
			"and whoever reaches this address bypasses the tailnet")
	}
	if p := cfg.Proxy.EgressProxy; p != nil && p.Authorization.IsSet() && p.URL.Scheme == "http" && !isLoopback(p.URL.Hostname()) {
		all = append(all, "proxy.egress_proxy is plain http: its credentials travel in the clear")
	}
	if cfg.Proxy.AdminPprof {
		all = append(all, "proxy.admin_pprof is on: whoever reaches the admin port can slow the process down; "+
			"where tailscaled runs in userspace mode that includes the tailnet, so turn it off again after use")
	}
	if cfg.Tailscale.Mode == ModeOff {
		for _, name := range env.aboutTailnet {
			all = append(all, name+" has no effect: "+noTailnet(cfg))
		}
	}
	if cfg.Proxy.EgressProxy == nil {
		for _, name := range env.proxies {
			all = append(all, name+" has no effect: only proxy.egress_proxy names a proxy on the way to the API")
		}
	}
	if cfg.Tailscale.AuthKey.IsSet() {
		all = append(all, "an auth key is configured and unused: the sidecar logs in by itself, so keep the key out of this process")
	}
	return all
}

// noTailnet says why no tailnet is watched.
func noTailnet(cfg Config) string {
	if cfg.Source == builtIn {
		return "without a configuration file no tailnet is watched; name one with --config or CONFIG_PATH"
	}
	return `tailscale.mode is "off", so no tailnet is watched`
}
