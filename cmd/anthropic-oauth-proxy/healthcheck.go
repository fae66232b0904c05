package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/doctor"
)

const healthcheckTimeout = 3 * time.Second

// healthcheck asks the admin port of a running proxy with the same
// configuration: an image without a shell has no curl.
func healthcheck(c config.Config, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+doctor.Reachable(c.Proxy.AdminAddr)+"/readyz", nil)
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
