package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/config"
)

const healthcheckTimeout = 3 * time.Second

// healthcheck asks the admin port of a running proxy with the same
// configuration: an image without a shell has no curl.
func healthcheck(c config.Config, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(c.Proxy.AdminAddr)+"/readyz", nil)
	if err != nil {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: ask %s: %v\n", c.Proxy.AdminAddr, err)
		return exitFailed
	}
	direct := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	res, err := direct.Do(req)
	if err != nil {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: ask %s: %v\n", c.Proxy.AdminAddr, err)
		return exitFailed
	}
	defer res.Body.Close()
	const longest = 256
	said, _ := io.ReadAll(io.LimitReader(res.Body, longest))
	fmt.Fprintln(stdout, strings.TrimSpace(string(said)))
	if res.StatusCode != http.StatusOK {
		return exitFailed
	}
	return exitOK
}

// reachable turns an address to listen on into one to dial: nobody can dial
// "every interface".
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
