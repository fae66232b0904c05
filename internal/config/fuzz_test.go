package config

import (
	"bytes"
	"errors"
	"math"
	"net/url"
	"os"
	"reflect"
	"testing"
	"time"
)

// FuzzLoad: whatever a file says, Load returns typed errors or a configuration
// that keeps its promises and prints as a file that means the same.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, seed := range []string{
		"", "headers = []", "[proxy]\ntimeout_secs = inf", "[proxy]\nupstream_url = \"http://[::1%25a]:1\"",
		"proxy = {max_body_mib = 1, listen_addr = \"[fe80::1%a]:0\"}", "[[headers]]\nname = \"x\"\nvalue = \"a,b\"\nmode = \"merge\"",
		"[tailscale]\nreachability_peer = \"fe80::1%é\"\nsocket = \"\U000e0001\"", "headers = [1, {}, [{}]]", "[proxy]\negress_proxy = \"http://a%20b:c@d@e:1/\"", "[headers.x]\n[[headers.x]]",
		"\"headers[0]\".name = \"x\"\n\"proxy\".\"timeout_secs\" = 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := loadBytes(t, data)
		if err != nil {
			if bad := (*Error)(nil); !errors.As(err, &bad) || bad.Problem == "" || bad.File != "fuzz" {
				t.Fatalf("an error without a type or a problem: %#v", err)
			}
			return
		}
		checkPromises(t, cfg)
		var printed bytes.Buffer
		if _, err := cfg.WriteTo(&printed); err != nil {
			t.Fatal(err)
		}
		again, err := loadBytes(t, printed.Bytes())
		if err != nil || !sameMeaning(again, cfg) {
			t.Fatalf("printed and loaded again: %v\ngot  %+v\nwant %+v", err, again, cfg)
		}
	})
}

// loadBytes is Load without a file system, which would only slow it down.
func loadBytes(t *testing.T, data []byte) (Config, error) {
	doc, keys, err := decode("fuzz", data)
	if err != nil {
		return Config{}, err
	}
	if doc.Tailscale.AuthKeyFile != "" || doc.Proxy.UpstreamCAFile != "" {
		t.Skip("would read a file of this machine")
	}
	return build("fuzz", doc, keys, environment{}, nil)
}

func checkPromises(t *testing.T, cfg Config) {
	t.Helper()
	p, ts := cfg.Proxy, cfg.Tailscale
	if u := p.Upstream; u.Host == "" || u.Path != "" || u.User != nil || u.RawQuery != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		t.Errorf("upstream %q", p.Upstream)
	}
	if e := p.EgressProxy; e != nil && (e.URL.Port() == "" || !isHost(e.URL.Hostname()) || *e.URL != (url.URL{Scheme: e.URL.Scheme, Host: e.URL.Host})) {
		t.Errorf("egress proxy %q", e.URL)
	}
	for _, d := range []time.Duration{p.HeaderTimeout, p.IdleTimeout, ts.PollInterval, ts.ConnectTimeout} {
		if d < minDuration || d > maxDuration {
			t.Errorf("duration %v", d)
		}
	}
	for _, d := range []time.Duration{p.QueueTimeout, p.DrainTimeout} {
		if d < 0 || d > maxDuration {
			t.Errorf("duration %v", d)
		}
	}
	if p.MaxConnections < 1 || p.MaxBodyBytes < 1<<20 || p.MaxBodyBytes > math.MaxInt64/2 {
		t.Errorf("limits %d, %d", p.MaxConnections, p.MaxBodyBytes)
	}
	if ts.Mode != ModeOff && ts.Mode != ModeSidecar || ts.Socket == "" || ts.Hostname == "" {
		t.Errorf("tailscale %+v", ts)
	}
}

// sameMeaning compares what a print can carry.
func sameMeaning(a, b Config) bool {
	names := func(c Config) (all []string) {
		for _, rule := range c.Headers {
			all = append(all, rule.String())
		}
		return all
	}
	return a.Proxy.EgressProxy.String() == b.Proxy.EgressProxy.String() && a.Proxy.AdminPprof == b.Proxy.AdminPprof &&
		a.Proxy.Upstream.String() == b.Proxy.Upstream.String() &&
		reflect.DeepEqual(a.Tailscale, b.Tailscale) && reflect.DeepEqual(names(a), names(b)) &&
		a.Proxy.MaxBodyBytes == b.Proxy.MaxBodyBytes && a.Proxy.MaxConnections == b.Proxy.MaxConnections &&
		a.Proxy.HeaderTimeout == b.Proxy.HeaderTimeout && a.Proxy.QueueTimeout == b.Proxy.QueueTimeout &&
		a.Proxy.ListenAddr == b.Proxy.ListenAddr && a.Proxy.AdminAddr == b.Proxy.AdminAddr
}
