package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"anthropic-oauth-proxy/internal/status"
)

// snapshot is what the running proxy says of itself.
type snapshot = status.Snapshot

const (
	portPatience = 2 * time.Second
	longestPage  = 8 << 20
)

// plain is a client that goes nowhere but where it is sent.
func plain() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// page fetches a page of a port of ours.
func page(ctx context.Context, addr, path string) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+Reachable(addr)+path, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := plain().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, longestPage))
	return res.StatusCode, body, err
}

// Reachable turns an address to listen on into one to dial: nobody can dial
// "every interface".
func Reachable(listen string) string {
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

// lookRunning asks the proxy that runs with this configuration, if one does.
func lookRunning(ctx context.Context, e *examination) Finding {
	code, body, err := page(ctx, e.Config.Proxy.AdminAddr, "/debug/status")
	if err != nil {
		return skipped("none answers at %s; nothing is said of a proxy that does not run", e.Config.Proxy.AdminAddr)
	}
	var s snapshot
	if code != http.StatusOK || json.Unmarshal(body, &s) != nil || s.Version != status.Version {
		return skipped("what answers at %s is no proxy of this version", e.Config.Proxy.AdminAddr)
	}
	e.running = &s
	f := Finding{Verdict: OK, Says: s.Verdict.Headline, Next: s.Verdict.Next, Runbook: s.Verdict.Runbook}
	switch s.Verdict.Level {
	case status.LevelFault:
		f.Verdict = Fail
	case status.LevelWarning, status.LevelEnding:
		f.Verdict = Warn
	}
	return f
}

func lookAdminPort(ctx context.Context, e *examination) Finding {
	return e.port(ctx, e.Config.Proxy.AdminAddr, "proxy.admin_addr", "/livez")
}

func lookProxyPort(ctx context.Context, e *examination) Finding {
	return e.port(ctx, e.Config.Proxy.ListenAddr, "proxy.listen_addr", "/health")
}

// port finds out who answers at an address of ours, without binding it.
func (e *examination) port(ctx context.Context, addr, key, probe string) Finding {
	host, port, _ := net.SplitHostPort(addr) // the configuration is valid
	if port == "0" {
		return ok("any free port of %s", host)
	}
	if f := assignable(host, key); f != nil {
		return *f
	}
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", Reachable(addr))
	switch {
	case err == nil:
		_ = conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED) && e.running == nil:
		return ok("%s is free", addr)
	case errors.Is(err, syscall.ECONNREFUSED) && !e.running.Port.Wanted:
		return ok("%s is closed, as the running proxy wants it now", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(fmt.Sprintf("nobody accepts connections at %s, though the proxy runs", addr),
			"Look for \"service\":\"listener\" in its log.", "ProxyServiceRestarting")
	default:
		return fail(fmt.Sprintf("%s does not answer: %v", addr, err), "Look for what drops connections to this address: a firewall rule, or a proxy that is stopped (SIGSTOP).", "")
	}
	if e.running == nil {
		return fail(fmt.Sprintf("another program holds %s", addr), fmt.Sprintf("End it, or choose another %s.", key), "CrashLoopBackOff of the proxy")
	}
	if _, _, err := page(ctx, addr, probe); err != nil {
		return fail(fmt.Sprintf("%s accepts connections and gives no answer: %v", addr, err),
			"Save a goroutine dump (kill -QUIT) before you restart the proxy.", "ProxyServiceRestarting")
	}
	return ok("%s is served by the running proxy", addr)
}

// assignable is nil when this machine has the address.
func assignable(host, key string) *Finding {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err == nil {
		_ = ln.Close()
		return nil
	}
	f := fail(fmt.Sprintf("this machine cannot listen on %s: %v", host, err), fmt.Sprintf("Set %s to an address of this machine, such as 127.0.0.1.", key), "CrashLoopBackOff of the proxy")
	return &f
}
