package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/headers"
)

// write puts text into a new file and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// environ makes a Getenv of pairs.
func environ(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func load(t testing.TB, text string, env ...string) Config {
	t.Helper()
	cfg, err := Load(Sources{Path: write(t, text), Getenv: environ(env...)})
	if err != nil {
		t.Fatalf("Load: %v\n%s", err, text)
	}
	return cfg
}

func TestLoadWithoutAFile(t *testing.T) {
	cfg, err := Load(Sources{Getenv: environ()})
	if err != nil {
		t.Fatal(err)
	}
	oauth, err := headers.NewRule("anthropic-beta", "oauth-2025-04-20", "merge")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Source: "built-in defaults",
		Tailscale: Tailscale{
			Mode:           ModeOff,
			Hostname:       "anthropic-oauth-proxy",
			Socket:         "/var/run/tailscale/tailscaled.sock",
			PollInterval:   2 * time.Second,
			ConnectTimeout: time.Minute,
			StateDir:       "/var/lib/ts-state",
		},
		Proxy: Proxy{
			ListenAddr:     "127.0.0.1:8080",
			AdminAddr:      "127.0.0.1:9090",
			Upstream:       cfg.Proxy.Upstream,
			HeaderTimeout:  11 * time.Minute,
			IdleTimeout:    4 * time.Minute,
			QueueTimeout:   30 * time.Second,
			DrainTimeout:   5 * time.Second,
			MaxConnections: 1000,
			MaxBodyBytes:   512 << 20,
		},
		Headers:  []headers.Rule{oauth},
		LogLevel: zerolog.InfoLevel,
	}
	want.inForce = cfg.inForce
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if got := cfg.Proxy.Upstream.String(); got != "https://api.anthropic.com" {
		t.Errorf("upstream is %s", got)
	}
}

func TestPrecedence(t *testing.T) {
	flagged := write(t, "[tailscale]\nhostname = \"flagged\"\nsocket = \"/file.sock\"")
	named := write(t, "[tailscale]\nhostname = \"named\"")

	cfg, err := Load(Sources{Path: flagged, Getenv: environ("CONFIG_PATH", named)})
	if err != nil || cfg.Tailscale.Hostname != "flagged" || cfg.Source != flagged {
		t.Errorf("--config over CONFIG_PATH: got %q from %q, %v", cfg.Tailscale.Hostname, cfg.Source, err)
	}
	cfg, err = Load(Sources{Getenv: environ("CONFIG_PATH", named)})
	if err != nil || cfg.Tailscale.Hostname != "named" || cfg.Source != named {
		t.Errorf("CONFIG_PATH over the defaults: got %q from %q, %v", cfg.Tailscale.Hostname, cfg.Source, err)
	}
	if cfg.Tailscale.Mode != ModeSidecar {
		t.Errorf("a file without a mode: got %q, want sidecar", cfg.Tailscale.Mode)
	}
	cfg, err = Load(Sources{Path: flagged, Getenv: environ("TAILSCALE_SOCKET", "/env.sock")})
	if err != nil || cfg.Tailscale.Socket != "/env.sock" {
		t.Errorf("TAILSCALE_SOCKET over the file: got %q, %v", cfg.Tailscale.Socket, err)
	}
	cfg, err = Load(Sources{Path: flagged, Getenv: environ("TAILSCALE_HOSTNAME", "From-Env")})
	if err != nil || cfg.Tailscale.Hostname != "from-env" {
		t.Errorf("TAILSCALE_HOSTNAME over the file: got %q, %v", cfg.Tailscale.Hostname, err)
	}
	cfg, err = Load(Sources{Path: flagged, Getenv: environ()})
	if err != nil || cfg.Tailscale.Socket != "/file.sock" {
		t.Errorf("the file over the default: got %q, %v", cfg.Tailscale.Socket, err)
	}
	if got := load(t, "[tailscale]\nsocket = \"\"").Tailscale.Socket; got != "/var/run/tailscale/tailscaled.sock" {
		t.Errorf("an empty socket: got %q, want the default", got)
	}
}

func TestNamedFileMustBeReadable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.toml")
	for _, tc := range []struct {
		name, key string
		from      Sources
		is        error
	}{
		{"flag", "--config", Sources{Path: missing, Getenv: environ("CONFIG_PATH", write(t, ""))}, fs.ErrNotExist},
		{"environment", "CONFIG_PATH", Sources{Getenv: environ("CONFIG_PATH", missing)}, fs.ErrNotExist},
		{"directory", "--config", Sources{Path: t.TempDir(), Getenv: environ()}, nil},
		{"endless", "--config", Sources{Path: "/dev/zero", Getenv: environ()}, nil},
	} {
		_, err := Load(tc.from)
		var bad *Error
		if !errors.As(err, &bad) || bad.Key != tc.key || bad.Remedy == "" || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: got %v, want an error about %s", tc.name, err, tc.key)
		}
		if tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v is not %v", tc.name, err, tc.is)
		}
	}
}

func TestHeadersInAFileAreTheWholeList(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"absent", "", []string{"merge Anthropic-Beta"}},
		{"empty", "headers = []", nil},
		{"tables", "[[headers]]\nname = \"x-a\"\nvalue = \"1\"\n[[headers]]\nname = \"x-b\"\nvalue = \"2\"\nmode = \"default\"",
			[]string{"set X-A", "default X-B"}},
		{"inline", `headers = [{name = "x-a", value = "1"}]`, []string{"set X-A"}},
		{"merge after set", "headers = [{name=\"x-a\",value=\"1\"},{name=\"x-a\",value=\"2\",mode=\"merge\"}]",
			[]string{"set X-A", "merge X-A"}},
	} {
		var got []string
		for _, rule := range load(t, tc.text).Headers {
			got = append(got, rule.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		got        func(Config) any
		want       any
	}{
		{"queue 0", "[proxy]\nqueue_timeout_secs = 0", func(c Config) any { return c.Proxy.QueueTimeout }, time.Duration(0)},
		{"drain 0.0", "[proxy]\ndrain_timeout_secs = 0.0", func(c Config) any { return c.Proxy.DrainTimeout }, time.Duration(0)},
		{"fraction", "[proxy]\nidle_timeout_secs = 0.25", func(c Config) any { return c.Proxy.IdleTimeout }, 250 * time.Millisecond},
		{"a day", "[proxy]\ntimeout_secs = 86_400", func(c Config) any { return c.Proxy.HeaderTimeout }, 24 * time.Hour},
		{"1 TiB", "[proxy]\nmax_body_mib = 0x100000", func(c Config) any { return c.Proxy.MaxBodyBytes }, int64(1) << 40},
		{"dotted", "proxy.max_connections = 7", func(c Config) any { return c.Proxy.MaxConnections }, 7},
		{"inline", "proxy = {max_connections = 7}", func(c Config) any { return c.Proxy.MaxConnections }, 7},
		{"ports 0", "[proxy]\nlisten_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"", func(c Config) any { return c.Proxy.AdminAddr }, "127.0.0.1:0"},
		{"same port, other host", "[proxy]\nlisten_addr = \"127.0.0.1:80\"\nadmin_addr = \"127.0.0.2:80\"", func(c Config) any { return c.Proxy.AdminAddr }, "127.0.0.2:80"},
		{"all interfaces", "[proxy]\nadmin_addr = \":9090\"", func(c Config) any { return c.Proxy.AdminAddr }, ":9090"},
		{"http to 127/8", "[proxy]\nupstream_url = \"http://127.1.2.3:9\"", func(c Config) any { return c.Proxy.Upstream.Host }, "127.1.2.3:9"},
		{"http to ::1", "[proxy]\nupstream_url = \"HTTP://[::1]:9/\"", func(c Config) any { return c.Proxy.Upstream.String() }, "http://[::1]:9"},
		{"http to localhost", "[proxy]\nupstream_url = \"http://localhost\"", func(c Config) any { return c.Proxy.Upstream.Host }, "localhost"},
		{"hostname case", "[tailscale]\nhostname = \"Proxy-1\"", func(c Config) any { return c.Tailscale.Hostname }, "proxy-1"},
		{"peer address", "[tailscale]\nreachability_peer = \"100.64.0.1\"", func(c Config) any { return c.Tailscale.ReachabilityPeer }, "100.64.0.1"},
		{"peer name", "[tailscale]\nreachability_peer = \"ai.tail1234.ts.net.\"", func(c Config) any { return c.Tailscale.ReachabilityPeer }, "ai.tail1234.ts.net."},
		{"identify", "[tailscale]\nidentify_callers = true", func(c Config) any { return c.Tailscale.IdentifyCallers }, true},
		{"no CA file", "", func(c Config) any { return c.Proxy.UpstreamRoots == nil }, true},
		{"no egress", "", func(c Config) any { return c.Proxy.EgressProxy == nil }, true},
		{"egress", "[proxy]\negress_proxy = \"http://proxy.corp\"", func(c Config) any { return c.Proxy.EgressProxy.URL.String() }, "http://proxy.corp:80"},
		{"egress over TLS", "[proxy]\negress_proxy = \"HTTPS://[fe80::1]/\"", func(c Config) any { return c.Proxy.EgressProxy.URL.String() }, "https://[fe80::1]:443"},
		{"egress without credentials", "[proxy]\negress_proxy = \"http://a:3128\"", func(c Config) any { return c.Proxy.EgressProxy.Authorization.IsSet() }, false},
		{"egress with credentials", "[proxy]\negress_proxy = \"http://me:p%40ss@w%25rd@a:3128\"", func(c Config) any { return c.Proxy.EgressProxy.Authorization.Reveal() }, "Basic bWU6cEBzc0B3JXJk"},
		{"egress with a user only", "[proxy]\negress_proxy = \"http://me@a:3128\"", func(c Config) any { return c.Proxy.EgressProxy.Authorization.Reveal() }, "Basic bWU6"},
		{"egress printed", "[proxy]\negress_proxy = \"http://me:hunter2@a:3128\"", func(c Config) any { return c.Proxy.EgressProxy.String() }, "http://[redacted]@a:3128"},
		{"profiles on ::1", "[proxy]\nadmin_addr = \"[::1]:9090\"\nadmin_pprof = true", func(c Config) any { return c.Proxy.AdminPprof }, true},
		{"byte order mark", "\xef\xbb\xbf[tailscale]\nmode = \"off\"", func(c Config) any { return c.Tailscale.Mode }, ModeOff},
		{"byte order mark, CRLF", "\xef\xbb\xbf# a comment\r\n[tailscale]\r\nmode = \"off\"\r\n", func(c Config) any { return c.Tailscale.Mode }, ModeOff},
		{"mode off, CRLF", "[tailscale]\r\nmode = \"off\"\r\n", func(c Config) any { return c.Tailscale.Mode }, ModeOff},
	} {
		if got := tc.got(load(t, tc.text)); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestLogLevel(t *testing.T) {
	for name, want := range map[string]zerolog.Level{
		"": zerolog.InfoLevel, "trace": zerolog.TraceLevel, "DEBUG": zerolog.DebugLevel,
		"Info": zerolog.InfoLevel, "info ": zerolog.InfoLevel, "\tWARN\r\n": zerolog.WarnLevel, " ": zerolog.InfoLevel, "warn": zerolog.WarnLevel, "error": zerolog.ErrorLevel,
	} {
		if got := load(t, "", "LOG_LEVEL", name).LogLevel; got != want {
			t.Errorf("LOG_LEVEL=%q: got %v, want %v", name, got, want)
		}
	}
}

func TestAuthKey(t *testing.T) {
	keyFile := write(t, "\n tskey-file \n")
	fromFile := "[tailscale]\nauth_key_file = '" + keyFile + "'"

	if got := load(t, fromFile).Tailscale.AuthKey.Reveal(); got != "tskey-file" {
		t.Errorf("from the file: got %q", got)
	}
	if got := load(t, fromFile, "TS_AUTHKEY", " tskey-env\n").Tailscale.AuthKey.Reveal(); got != "tskey-env" {
		t.Errorf("TS_AUTHKEY over the file: got %q", got)
	}
	unread := "[tailscale]\nauth_key_file = \"/does/not/exist\""
	if got := load(t, unread, "TS_AUTHKEY", "tskey-env").Tailscale.AuthKey.Reveal(); got != "tskey-env" {
		t.Errorf("TS_AUTHKEY with a missing file: got %q", got)
	}
	if load(t, "").Tailscale.AuthKey.IsSet() {
		t.Error("no key anywhere, yet one is set")
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		env        []string
		want       []string
	}{
		{"defaults", "", nil, nil},
		{"state_dir", "[tailscale]\nstate_dir = \"/x\"", nil, nil},
		{"open admin", "[proxy]\nadmin_addr = \":9090\"", nil, nil},
		{"no rule", "headers = []", nil, []string{"oauth-2025-04-20"}},
		{"another beta", "headers = [{name = \"anthropic-beta\", value = \"x\"}]", nil, []string{"oauth-2025-04-20"}},
		{"open listener", "[proxy]\nlisten_addr = \"0.0.0.0:8080\"", nil, []string{"listen_addr"}},
		{"open listener without a host", "[proxy]\nlisten_addr = \":8080\"", nil, []string{"listen_addr"}},
		{"open listener without a tailnet", "[tailscale]\nmode = \"off\"\n[proxy]\nlisten_addr = \":8080\"", nil, nil},
		{"egress without credentials", "[proxy]\negress_proxy = \"http://proxy.corp\"", nil, nil},
		{"egress over TLS", "[proxy]\negress_proxy = \"https://me:hunter2@proxy.corp\"", nil, nil},
		{"egress on this machine", "[proxy]\negress_proxy = \"http://me:hunter2@[::1]:3128\"", nil, nil},
		{"egress in the clear", "[proxy]\negress_proxy = \"http://me:hunter2@proxy.corp\"", nil, []string{"proxy.egress_proxy is plain http"}},
		{"profiles", "[proxy]\nadmin_pprof = true", nil, []string{"proxy.admin_pprof is on"}},
		{"socket without a tailnet", "[tailscale]\nmode = \"off\"", []string{"TAILSCALE_SOCKET", "/hunter2"}, []string{"TAILSCALE_SOCKET has no effect: tailscale.mode is"}},
		{"name without a tailnet", "[tailscale]\nmode = \"off\"", []string{"TAILSCALE_HOSTNAME", "hunter2"}, []string{"TAILSCALE_HOSTNAME has no effect"}},
		{"socket with a tailnet", "", []string{"TAILSCALE_SOCKET", "/hunter2"}, nil},
		{"proxies of the environment", "", []string{"HTTPS_PROXY", "http://hunter2", "all_proxy", "hunter2"}, []string{"HTTPS_PROXY has no effect: only proxy.egress_proxy", "all_proxy has no effect"}},
		{"proxy of the file", "[proxy]\negress_proxy = \"http://proxy.corp\"", []string{"HTTPS_PROXY", "http://hunter2"}, nil},
		{"key", "", []string{"TS_AUTHKEY", "tskey-hunter2"}, []string{"auth key"}},
	} {
		got := load(t, tc.text, tc.env...).Warnings
		if len(got) != len(tc.want) {
			t.Errorf("%s: got %q, want %d", tc.name, got, len(tc.want))
			continue
		}
		for i, part := range tc.want {
			if !strings.Contains(got[i], part) || strings.Contains(got[i], "hunter2") {
				t.Errorf("%s: got %q, want a word about %s and no secret", tc.name, got[i], part)
			}
		}
	}
}

func TestWriteTo(t *testing.T) {
	cfg := load(t, `[tailscale]
hostname = "Other"
poll_interval_secs = 0.5
[proxy]
admin_addr = ":9191"
egress_proxy = "https://me:hunter2@proxy.corp:3128"
[[headers]]
name = "anthropic-beta"
value = "oauth-2025-04-20"
[[headers]]
name = "x-team"
value = "hunter2"
`, "TS_AUTHKEY", "tskey-hunter2", "LOG_LEVEL", "warn")
	var b bytes.Buffer
	if _, err := cfg.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{
		"# source: " + cfg.Source + "\n", "# LOG_LEVEL: warn\n", "# auth key: [redacted]\n", "# warning: an auth key",
		"hostname = \"other\"\n", "poll_interval_secs = 0.5\n", "timeout_secs = 660\n", "admin_addr = \":9191\"\n",
		"egress_proxy = \"https://[redacted]@proxy.corp:3128\"\n",
		"value = \"oauth-2025-04-20\"\n", "name = \"x-team\"\nvalue = \"[redacted]\"\nmode = \"set\"\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Errorf("a secret is shown:\n%s", out)
	}
	printed, err := index("printed", []byte(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, ok := printed[strings.Replace(k.name, "[]", "[0]", 1)]; ok == (k.name == "tailscale.auth_key_file") {
			t.Errorf("%s is printed: %t", k.name, ok)
		}
	}
}

func TestPrintedConfigLoadsAgain(t *testing.T) {
	for name, text := range map[string]string{"defaults": "", "no rules": "headers = []"} {
		cfg := load(t, text)
		var b strings.Builder
		if _, err := cfg.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		again := load(t, b.String())
		again.Source = cfg.Source
		if !reflect.DeepEqual(again, cfg) {
			t.Errorf("%s: got  %+v\nwant %+v", name, again, cfg)
		}
	}
}

func TestVariablesWithoutAFile(t *testing.T) {
	cfg, err := Load(Sources{Getenv: environ("TAILSCALE_SOCKET", "/env.sock", "TAILSCALE_HOSTNAME", " name\n")})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 2 || !strings.Contains(cfg.Warnings[0], "TAILSCALE_SOCKET has no effect: without a configuration file") {
		t.Errorf("warns %q", cfg.Warnings)
	}
	if cfg.Tailscale.Hostname != "name" {
		t.Errorf("the name is %q", cfg.Tailscale.Hostname)
	}
}
