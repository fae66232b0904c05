package doctor

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
	"tailscale.com/types/views"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/status"
)

var nobody = log.New(io.Discard, "", 0)

// found are the verdicts that are not ok.
func found(r Report) map[string]Finding {
	all := make(map[string]Finding)
	for _, f := range r.Findings {
		if f.Verdict != OK {
			all[f.Check] = f
		}
	}
	return all
}

var worlds = []struct {
	name  string
	spoil func(t *testing.T, b *bench)
	// want are the checks that are not ok, with their verdict.
	want map[string]Verdict
	// says is part of what the first of them that is not skipped says.
	says string
}{
	{"all is well", func(*testing.T, *bench) {}, nil, ""},
	{"no tailnet wanted", func(_ *testing.T, b *bench) {
		b.edit = func(c *config.Config) { c.Tailscale.Mode = config.ModeOff }
	}, map[string]Verdict{"tailscaled's socket": Skipped, "tailnet": Skipped, "node name": Skipped, "MagicDNS": Skipped, "node key": Skipped,
		"tailscaled's version": Skipped, "tailnet paths": Skipped, "Aperture": Skipped}, ""},

	{"a bad configuration", func(_ *testing.T, b *bench) { b.config = "timeout_secs = 0" }, map[string]Verdict{"configuration": Fail}, "proxy.timeout_secs"},
	{"a warning", func(_ *testing.T, b *bench) {
		b.edit = func(c *config.Config) { c.Warnings = []string{"one", "two"} }
	}, map[string]Verdict{"configuration": Warn}, "one (and 1 more warnings)"},

	{"no proxy runs", func(_ *testing.T, b *bench) { b.running = nil }, map[string]Verdict{"running proxy": Skipped}, ""},
	{"the running one is at fault", func(_ *testing.T, b *bench) {
		b.running.Verdict.Finding = status.Finding{Level: status.LevelFault, Headline: "Our fault: x.", Next: "do", Runbook: "r"}
	}, map[string]Verdict{"running proxy": Fail}, "Our fault: x."},
	{"the running one drains", func(_ *testing.T, b *bench) { b.running.Verdict.Level = status.LevelEnding }, map[string]Verdict{"running proxy": Warn}, "Healthy."},
	{"another version runs", func(_ *testing.T, b *bench) { b.running.Version = 99 },
		map[string]Verdict{"running proxy": Skipped, "admin port": Fail, "proxy port": Fail}, "another program holds"},
	{"the proxy port is closed", func(_ *testing.T, b *bench) { b.proxy = nil }, map[string]Verdict{"proxy port": Fail}, "though the proxy runs"},
	{"the proxy port is to be closed", func(_ *testing.T, b *bench) { b.proxy, b.running.Port.Wanted = nil, false }, nil, ""},
	{"the proxy port hangs", func(t *testing.T, b *bench) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		b.edit = func(c *config.Config) { c.Proxy.ListenAddr = ln.Addr().String() }
	}, map[string]Verdict{"proxy port": Fail}, "gives no answer"},
	{"an address of another machine", func(_ *testing.T, b *bench) {
		b.edit = func(c *config.Config) { c.Proxy.ListenAddr = "192.0.2.1:8080" }
	}, map[string]Verdict{"proxy port": Fail}, "cannot listen on 192.0.2.1"},

	{"no socket", func(_ *testing.T, b *bench) { b.tailscaled = nil }, socketFails, "does not exist"},
	{"a file in its place", func(t *testing.T, b *bench) {
		b.socket = filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(b.socket, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}, socketFails, "is no socket"},
	{"a socket left behind", func(t *testing.T, b *bench) {
		b.socket = filepath.Join(t.TempDir(), "s")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
	}, socketFails, "nobody listens on"},
	{"logged out", func(_ *testing.T, b *bench) { b.tailscaled.BackendState = "NeedsLogin" }, map[string]Verdict{"tailnet": Fail, "node name": Skipped}, "needs_login"},
	{"control is away", func(_ *testing.T, b *bench) { b.tailscaled.Self.Online = false }, map[string]Verdict{"tailnet": Warn}, "control_offline"},
	{"another name", func(_ *testing.T, b *bench) { b.tailscaled.Self.DNSName = "anthropic-oauth-proxy-1.tail0000.ts.net." },
		map[string]Verdict{"node name": Warn}, "the node is named anthropic-oauth-proxy-1"},
	{"no MagicDNS", func(_ *testing.T, b *bench) { b.tailscaled.CurrentTailnet.MagicDNSEnabled = false }, map[string]Verdict{"MagicDNS": Warn}, "MagicDNS is off"},
	{"another suffix", func(_ *testing.T, b *bench) { b.tailscaled.CurrentTailnet.MagicDNSSuffix = "new.ts.net" }, map[string]Verdict{"MagicDNS": Warn}, "not below"},
	{"the key expires soon", func(_ *testing.T, b *bench) {
		at := time.Now().Add(50 * time.Hour)
		b.tailscaled.Self.KeyExpiry = &at
	}, map[string]Verdict{"node key": Warn}, "expires in 49 h"},
	{"the key expires late", func(_ *testing.T, b *bench) {
		at := time.Now().Add(90*24*time.Hour + time.Hour)
		b.tailscaled.Self.KeyExpiry = &at
	}, nil, ""},
	{"the key has expired", func(_ *testing.T, b *bench) {
		at := time.Now().Add(-time.Hour)
		b.tailscaled.Self.KeyExpiry = &at
	}, map[string]Verdict{"node key": Fail}, "has expired"},
	{"relays alone", func(_ *testing.T, b *bench) {
		for _, p := range b.tailscaled.Peer {
			p.CurAddr, p.Relay = "", "fra"
		}
	}, map[string]Verdict{"tailnet paths": Warn}, "ai (by fra)"},
	{"no Aperture", func(_ *testing.T, b *bench) { b.tailscaled.Peer = nil }, map[string]Verdict{"Aperture": Skipped}, ""},
	{"a stranger's Aperture", func(_ *testing.T, b *bench) {
		for _, p := range b.tailscaled.Peer {
			p.DNSName = "ai.stranger.ts.net."
		}
	}, map[string]Verdict{"Aperture": Skipped}, "no peer is named"},
	{"a peer that is null", func(_ *testing.T, b *bench) { b.tailscaled.Peer[key.NewNode().Public()] = nil }, nil, ""},
	{"Aperture is offline", func(_ *testing.T, b *bench) {
		for _, p := range b.tailscaled.Peer {
			p.Online = false
		}
	}, map[string]Verdict{"Aperture": Warn}, "is offline"},
	{"Aperture is out of reach", func(_ *testing.T, b *bench) { b.aperture = nil }, map[string]Verdict{"Aperture": Warn}, "does not connect us"},

	{"no such name", func(_ *testing.T, b *bench) { b.names = nil },
		map[string]Verdict{"name of the API": Fail, "addresses of the API": Skipped, "TLS to the API": Skipped, "answer of the API": Skipped, "clock": Skipped}, "api.test (the API) is not found"},
	{"one address is dead", func(_ *testing.T, b *bench) { b.names["api.test."] = "127.0.0.1 127.0.0.99" }, map[string]Verdict{"addresses of the API": Warn}, "1 of 2 addresses"},
	{"all addresses are dead", func(_ *testing.T, b *bench) { b.names["api.test."] = "127.0.0.98 127.0.0.99" },
		map[string]Verdict{"addresses of the API": Fail, "TLS to the API": Skipped, "answer of the API": Skipped, "clock": Skipped}, "no address of the API takes a connection"},
	{"an inspecting proxy", func(t *testing.T, b *bench) {
		b.certificate = newAuthority(t, "Corp Inspection").issue(t, "api.test", time.Now().Add(time.Hour*1000))
	}, tlsFails, "Corp Inspection"},
	{"an expired certificate", func(t *testing.T, b *bench) {
		ca := newAuthority(t, "CA")
		b.roots.AddCert(ca.cert)
		b.certificate = ca.issue(t, "api.test", time.Now().Add(-time.Minute))
	}, tlsFails, "has expired"},
	{"a certificate for another name", func(t *testing.T, b *bench) {
		ca := newAuthority(t, "CA")
		b.roots.AddCert(ca.cert)
		b.certificate = ca.issue(t, "other.test", time.Now().Add(time.Hour*1000))
	}, tlsFails, "another name"},
	{"a certificate that expires soon", func(t *testing.T, b *bench) {
		ca := newAuthority(t, "CA")
		b.roots.AddCert(ca.cert)
		b.certificate = ca.issue(t, "api.test", time.Now().Add(50*time.Hour))
	}, map[string]Verdict{"TLS to the API": Warn}, "expires in 2 d"},
	{"no HTTP/2", func(_ *testing.T, b *bench) { b.protocols = []string{"http/1.1"} }, map[string]Verdict{"TLS to the API": Warn}, "HTTP/2 was not offered"},
	{"a portal", func(_ *testing.T, b *bench) { b.api = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) },
		map[string]Verdict{"answer of the API": Warn}, "200 where 401"},
	{"an outage", func(_ *testing.T, b *bench) {
		b.api = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(529) })
	}, map[string]Verdict{"answer of the API": Fail}, "it answers 529"},
	{"HTTP is cut", func(_ *testing.T, b *bench) {
		b.api = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}, map[string]Verdict{"answer of the API": Fail, "clock": Skipped}, "no answer"},
	{"a slow clock", func(_ *testing.T, b *bench) { b.api = at(2 * time.Minute) }, map[string]Verdict{"clock": Warn}, "off the API's"},
	{"a wrong clock", func(_ *testing.T, b *bench) { b.api = at(-time.Hour) }, map[string]Verdict{"clock": Fail}, "1h0m"},
	{"no date", func(_ *testing.T, b *bench) {
		b.api = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil; w.WriteHeader(401) })
	}, map[string]Verdict{"clock": Skipped}, ""},

	{"too few descriptors and too little memory", func(_ *testing.T, b *bench) {
		b.edit = func(c *config.Config) { c.Proxy.MaxConnections = 1 << 40 }
	}, map[string]Verdict{"descriptors": Fail, "memory": Warn}, "are allowed"},
}

var (
	socketFails = map[string]Verdict{"tailscaled's socket": Fail, "tailnet": Skipped, "node name": Skipped, "MagicDNS": Skipped, "node key": Skipped,
		"tailscaled's version": Skipped, "tailnet paths": Skipped, "Aperture": Skipped}
	tlsFails = map[string]Verdict{"TLS to the API": Fail, "answer of the API": Skipped, "clock": Skipped}
)

// at answers as the API does, with another time.
func at(off time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		w.WriteHeader(401)
	})
}

// In each broken world the check fails whose business it is, those that need
// what it found are skipped, and all others are content.
func TestEachCheckFailsForItsReasonAlone(t *testing.T) {
	runbook, err := os.ReadFile("../../RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	failed := make(map[string]bool)
	for _, tc := range worlds {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			tc.spoil(t, b)
			r := b.examine()
			got := found(r)
			for name, f := range got {
				if f.Verdict != tc.want[name] {
					t.Errorf("%s: %+v, want %q", name, f, tc.want[name])
				}
				if f.Verdict == Fail || f.Verdict == Warn {
					failed[name] = true
					if f.Next == "" && name != "running proxy" {
						t.Errorf("%s: nothing to do next: %+v", name, f)
					}
				}
				if f.Runbook != "" && f.Runbook != "r" && !strings.Contains(string(runbook), "# "+f.Runbook+"\n") {
					t.Errorf("the RUNBOOK has no section %q", f.Runbook)
				}
			}
			healthy := true
			said := tc.says == ""
			for name, v := range tc.want {
				if got[name].Verdict != v {
					t.Errorf("%s is %q, want %q", name, got[name].Verdict, v)
				}
				healthy = healthy && v != Fail
				said = said || strings.Contains(got[name].Says, tc.says)
			}
			if r.Healthy != healthy {
				t.Errorf("healthy is %t", r.Healthy)
			}
			if !said {
				t.Errorf("nobody says %q: %+v", tc.says, got)
			}
		})
	}
	for _, c := range checks {
		if !failed[c.name] && c.name != "tailscaled's version" && c.name != "admin port" {
			t.Errorf("no world makes %q fail", c.name)
		}
	}
}

// The specification lists the checks, in their order.
func TestEveryCheckIsSpecified(t *testing.T) {
	spec, err := os.ReadFile("../../specs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(spec), "| check | fails or warns when |\n|---|---|\n")
	want := []string{"configuration"}
	for _, c := range checks {
		want = append(want, c.name)
	}
	var got []string
	for line := range strings.Lines(table) {
		name, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !row {
			break
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("specified are %q, there are %q", got, want)
	}
}

// A release of the sidecar that is years apart from ours.
func TestVersionsApart(t *testing.T) {
	for version, want := range map[string]int{"1.102.5": 102, "v1.90.0-t123": 90, "": -1, "unstable": -1} {
		if got := minor(version); got != want {
			t.Errorf("%q is %d", version, got)
		}
	}
}

// The whole report names no secret, and comes back from its JSON.
func TestTheReport(t *testing.T) {
	const secret = "hunter2canary"
	b := newBench(t)
	tags := views.SliceOf([]string{"tag:proxy"})
	b.tailscaled.Self.Tags = &tags
	b.edit = func(c *config.Config) {
		c.Proxy.EgressProxy = &config.EgressProxy{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Authorization: config.NewSecret("Basic " + secret)}
		c.Tailscale.AuthKey = config.NewSecret(secret)
	}
	r := b.examine()
	if f := found(r)["addresses of the API"]; f.Verdict != Fail || !strings.Contains(f.Says, "no address of the egress proxy") {
		t.Errorf("the egress proxy is not looked at: %+v", f)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(raw, &back); err != nil || len(back.Findings) != len(checks)+1 {
		t.Errorf("%v: %s", err, raw)
	}
	var plain, coloured strings.Builder
	if err := r.WriteText(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&coloured, true); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(raw), plain.String()} {
		if strings.Contains(text, secret) || strings.Contains(text, "\x1b") {
			t.Errorf("it says %s", text)
		}
		for _, part := range []string{"tag:proxy", "passthrough", "ANTHROPIC_BASE_URL=http://anthropic-oauth-proxy:", "anthropic_messages"} {
			if !strings.Contains(text, part) {
				t.Errorf("it lacks %q: %s", part, text)
			}
		}
	}
	if !strings.Contains(coloured.String(), "\x1b[1;31mfail") {
		t.Errorf("no colour in %q", coloured.String())
	}
}

// Through an egress proxy the name of the API is the proxy's to find.
func TestThroughAnEgressProxy(t *testing.T) {
	for name, tc := range map[string]struct {
		answer int
		want   map[string]Verdict
		says   string
	}{
		"it lets us through":          {200, nil, ""},
		"it wants to know who we are": {407, map[string]Verdict{"TLS to the API": Fail, "answer of the API": Skipped, "clock": Skipped}, "status 407"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.names = nil
			b.edit = func(c *config.Config) {
				addr := b.page(tunnel(t, tc.answer, c.Proxy.Upstream))
				c.Proxy.EgressProxy = &config.EgressProxy{URL: &url.URL{Scheme: "http", Host: addr}, Authorization: config.NewSecret("Basic x")}
			}
			got := found(b.examine())
			for check, f := range got {
				if f.Verdict != tc.want[check] {
					t.Errorf("%s: %+v", check, f)
				}
			}
			for check, v := range tc.want {
				if got[check].Verdict != v {
					t.Errorf("%s: %+v", check, got[check])
				}
			}
			if f := got["TLS to the API"]; tc.says != "" && !strings.Contains(f.Says, tc.says) {
				t.Errorf("it says %+v", f)
			}
		})
	}
}

// tunnel is an egress proxy that knows where api.test is.
func tunnel(t *testing.T, code int, to *url.URL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != to.Host || r.Header.Get("Proxy-Authorization") != "Basic x" {
			t.Errorf("it is asked %s %s %v", r.Method, r.Host, r.Header)
		}
		w.WriteHeader(code)
		if code != 200 {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		api, err := net.Dial("tcp", netip.MustParseAddrPort("127.0.0.1:"+to.Port()).String())
		if err != nil {
			t.Error(err)
			return
		}
		defer api.Close()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(api, rw); _ = api.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(conn, api)
		_ = conn.Close()
		<-done
	})
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:9090": "127.0.0.1:9090", "0.0.0.0:9090": "127.0.0.1:9090", ":9090": "127.0.0.1:9090",
		"[::]:9090": "[::1]:9090", "[fd00::1]:9090": "[fd00::1]:9090", "localhost:9090": "localhost:9090",
	} {
		if got := Reachable(listen); got != want {
			t.Errorf("to reach %s one dials %s, want %s", listen, got, want)
		}
	}
}
