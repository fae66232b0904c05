// Command anthropic-oauth-proxy stands between Claude clients and the Claude
// API on a Tailscale tailnet. It adds the anthropic-beta capability that OAuth
// tokens need and streams everything else through untouched.
//
//	anthropic-oauth-proxy [serve]       run the proxy
//	anthropic-oauth-proxy check-config  validate the configuration and print what is in force
//	anthropic-oauth-proxy healthcheck   ask a running proxy whether it is ready
//	anthropic-oauth-proxy status        say how a running proxy is, and whose fault what is wrong is
//	anthropic-oauth-proxy doctor        look at all that the proxy depends on
//	anthropic-oauth-proxy dump          make a hanging proxy say where it hangs, and end
//	anthropic-oauth-proxy version       print the version
//
// All of them take --config FILE. The exit code is 0 for a clean end, 1 when
// the service could not run (or is not ready), and 2 for a bad configuration
// or usage.
//
// The proxy port answers /health and /metrics itself and forwards everything
// else. The admin port has /health, /metrics, /livez, /readyz, a status page at /
// and what it shows as JSON: /debug/status, /debug/tree, /debug/streams and
// /debug/events.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }
