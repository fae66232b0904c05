package supervisor

import (
	"crypto/tls"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/upstream"
)

// engine is how the configuration wants the API to be reached. What tests chose
// stays.
func engine(c config.Proxy, o Options) upstream.Options {
	e := o.Upstream
	e.Log = o.Log
	if c.UpstreamRoots != nil && e.TLS == nil {
		e.TLS = &tls.Config{RootCAs: c.UpstreamRoots}
	}
	if c.EgressProxy != nil {
		e.EgressProxy, e.EgressAuthorization = c.EgressProxy.URL, c.EgressProxy.Authorization.Reveal()
	}
	return e
}
