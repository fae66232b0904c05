package tailnet

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/sim"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

func TestByName(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	port := ":" + strconv.Itoa(l.Proxy.Port())
	for _, host := range []string{lab.Hostname, lab.Hostname + "." + lab.Domain} {
		res, err := get(ctx, l, "http://"+host+port+"/health")
		if err != nil {
			t.Fatalf("health by %s: %v", host, err)
		}
		var h lab.Health
		err = json.NewDecoder(res.Body).Decode(&h)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || h.Tailnet != "connected" || h.Hostname != lab.Hostname || !strings.HasPrefix(h.IP, "100.64.") {
			t.Errorf("health by %s: %d %+v %v", host, res.StatusCode, h, err)
		}

		s := open(t, ctx, l, "http://"+host+port, sim.Plan{Name: host, Deltas: 5})
		for i := range s.events {
			s.release(1)
			s.expect(t, i) // each arrives before the next is sent
		}
		s.end(t)
	}
}

func TestPolicyThatDeniesTheCaller(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	key, err := l.Sidecar.Key(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Control.Deny(key, true)
	await(t, within(t, ctx, 20*time.Second), "the policy", func() bool { return l.Reachable(ctx, time.Second) != nil })
	asked := l.API.Total()
	for range 3 {
		short := within(t, ctx, time.Second)
		if res, err := get(short, l, l.URL("/v1/models")); err == nil {
			res.Body.Close()
			t.Errorf("an answer %d came through a policy that denies all", res.StatusCode)
		}
	}
	if n := l.API.Total(); n != asked {
		t.Errorf("%d requests reached the API", n-asked)
	}
	l.Control.Deny(key, false)
	awaitReachable(t, ctx, l)
}

// Bound to loopback alone, the service is reached through the tailnet and from
// nowhere else.
func TestLoopbackIsEnough(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	hosts := []string{"127.0.0.2", "::1"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, n.IP.String())
		}
	}
	for _, host := range hosts {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(l.Proxy.Port())), 2*time.Second)
		if err == nil {
			c.Close()
			t.Errorf("the data plane answers on %s", host)
		}
	}
}

// The age of the last request is evidence where tailscaled knows nothing.
func TestLastRequestIsEvidence(t *testing.T) {
	t.Parallel()
	const sample = "tailnet_last_request_timestamp_seconds"
	ctx, l := start(t, time.Minute, lab.Options{Proxy: lab.ProxyOptions{Tailscale: fmt.Sprintf("reachability_peer = %q", lab.CallerName)}})
	awaitReachable(t, ctx, l) // asks for health, which is no evidence
	if v, _ := l.Proxy.Metric(ctx, sample); v != 0 {
		t.Errorf("%s is %v before any request", sample, v)
	}
	before := time.Now()
	res, err := get(ctx, l, l.URL("/v1/models"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	v, ok := l.Proxy.Metric(ctx, sample)
	if at := time.UnixMicro(int64(v * 1e6)); !ok || at.Before(before.Add(-time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("%s is %v (%v), want a time after %v", sample, v, at, before)
	}
}

func TestCallersAreNamed(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{Proxy: lab.ProxyOptions{Tailscale: "identify_callers = true"}})
	awaitReachable(t, ctx, l)
	res, err := get(ctx, l, l.URL("/v1/named"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	line := func(path string) map[string]any {
		var found map[string]any
		await(t, ctx, "the access log of "+path, func() bool {
			for text := range strings.Lines(l.Proxy.Logs()) {
				var m map[string]any
				if json.Unmarshal([]byte(text), &m) == nil && m["path"] == path {
					found = m
				}
			}
			return found != nil
		})
		return found
	}
	if m := line("/v1/named"); m["caller"] != lab.CallerName || !strings.Contains(string(mustJSON(m["caller_tags"])), lab.CallerTag) {
		t.Errorf("the caller in the log is %v %v, want %s %s", m["caller"], m["caller_tags"], lab.CallerName, lab.CallerTag)
	}
	// Whoever is not from the tailnet is served without a name, and a crowd of
	// probes asks tailscaled nothing: it would answer seconds later.
	if code, _, err := l.Proxy.Data(ctx, "/v1/stranger"); err != nil || code == http.StatusServiceUnavailable {
		t.Errorf("a local caller got %d, %v", code, err)
	}
	if m := line("/v1/stranger"); m["caller"] != nil {
		t.Errorf("a local caller is named %v", m["caller"])
	}
	for range 20 {
		go func() { _, _, _ = l.Proxy.Data(ctx, "/health") }() // its answer is of no interest here
	}
	began := time.Now()
	if _, err := l.Sidecar.Status(ctx); err != nil || time.Since(began) > time.Second {
		t.Errorf("tailscaled's status took %v (%v) during probes", time.Since(began), err)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func get(ctx context.Context, l *lab.Lab, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return l.Caller.HTTP.Do(req)
}
