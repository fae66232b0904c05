package config

import "anthropic-oauth-proxy/internal/headers"

// warnings says what is allowed but probably not meant. cfg is valid.
func warnings(cfg Config) []string {
	var all []string
	if !headers.AddsOAuth(cfg.Headers) {
		all = append(all, "no [[headers]] rule adds "+headers.OAuthMember+
			" to anthropic-beta: the API will refuse OAuth tokens whose client does not ask for it")
	}
	if listen, _ := parseAddress(cfg.Proxy.ListenAddr); cfg.Tailscale.Mode == ModeSidecar && !listen.host.IsLoopback() {
		all = append(all, "proxy.listen_addr is not loopback: the sidecar dials loopback, "+
			"and whoever reaches this address bypasses the tailnet")
	}
	if cfg.Tailscale.AuthKey.IsSet() {
		all = append(all, "an auth key is configured and unused: the sidecar logs in by itself, so keep the key out of this process")
	}
	return all
}
