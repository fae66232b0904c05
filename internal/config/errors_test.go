package config

import (
	"errors"
	"strings"
	"testing"
)

// secret stands where a careless person might put one. No error may show it.
const secret = "hunter2"

func TestRefuses(t *testing.T) {
	type want struct {
		line int
		key  string
		says string
	}
	long := strings.Repeat("a", 108)
	for _, tc := range []struct {
		name, text string
		want       want
	}{
		{"syntax", "[proxy]\nlisten_addr = hunter2", want{2, "", "not TOML"}},
		{"unterminated", "[proxy]\nlisten_addr = \"hunter2", want{2, "", "not TOML"}},
		{"second byte order mark", "\xef\xbb\xbf\xef\xbb\xbf[proxy]", want{1, "", "not TOML"}},
		{"UTF-16", "\xff\xfe[\x00p\x00r\x00o\x00x\x00y\x00]\x00", want{1, "", "not TOML"}},
		{"not text", "\x00\xff", want{1, "", "not TOML"}},

		{"unknown key", "[proxy]\n\ntimeout = 5", want{3, "proxy.timeout", "unknown key; the keys here are admin_addr, admin_pprof, drain_"}},
		{"unknown root key", "a = 1", want{1, "a", "unknown key; the tables are headers, proxy, tailscale"}},
		{"unknown table", "[proxy]\n[server]\nport = 1", want{2, "server", "unknown table; the tables are"}},
		{"unknown nested table", "[proxy.tls]", want{1, "proxy.tls", "unknown table"}},
		{"unknown rule key", "[[headers]]\nname = \"x-a\"\nvalue = \"1\"\nvalues = \"hunter2\"", want{4, "headers[0].values", "unknown key; the keys here are mode, name, value"}},
		{"unknown inline key", "headers = [{name = \"x-a\", value = \"1\"},\n{nmae = \"x\"}]", want{2, "headers[1].nmae", "unknown key"}},
		{"unknown dotted key", "proxy.a.b = 1", want{1, "proxy.a.b", "unknown key"}},
		{"other case", "[proxy]\nTimeout_Secs = 5", want{2, "proxy.Timeout_Secs", "unknown key"}},
		{"other case of a table", "[Proxy]", want{1, "Proxy", "unknown table"}},
		{"disguised key", "\"proxy.timeout_secs\" = 5", want{1, "proxy.timeout_secs", "unknown"}},
		{"odd key", "\"a\\nb\" = 1", want{1, "a\nb", "unknown key"}},

		{"string for a number", "[proxy]\ntimeout_secs = \"hunter2\"", want{2, "proxy.timeout_secs", "wrong type (String); write a number"}},
		{"float for a count", "[proxy]\nmax_connections = 1.5", want{2, "proxy.max_connections", "wrong type (Float); write a whole number"}},
		{"number for a string", "[proxy]\nlisten_addr = 8080", want{2, "proxy.listen_addr", "wrong type (Integer); write a string"}},
		{"string for a bool", "[tailscale]\nidentify_callers = \"yes\"", want{2, "tailscale.identify_callers", "write true or false"}},
		{"list for a string", "[proxy]\nupstream_url = [\"hunter2\"]", want{2, "proxy.upstream_url", "wrong type (Array)"}},
		{"date for a number", "[proxy]\ntimeout_secs = 2026-01-01", want{2, "proxy.timeout_secs", "wrong type"}},
		{"number for a rule's name", "[[headers]]\nname = 1", want{2, "headers[0].name", "wrong type"}},
		{"value for a table", "proxy = 1", want{1, "proxy", "wrong type (Integer); write a [proxy] table"}},
		{"list of a table", "[[proxy]]", want{1, "proxy", "write [proxy]"}},
		{"table of a list", "\n[headers]\nname = \"x\"", want{2, "headers", "write [[headers]]"}},
		{"string for the list", "headers = \"hunter2\"", want{1, "headers", "write [[headers]]"}},
		{"strings in the list", "headers = [\"hunter2\"]", want{1, "headers", "element of the wrong type"}},
		{"table below a key", "[proxy.timeout_secs]", want{1, "proxy.timeout_secs", "unknown table"}},
		{"twice", "[proxy]\ntimeout_secs = 1\ntimeout_secs = 2", want{3, "proxy.timeout_secs", "already set on line 2"}},
		{"table twice", "[proxy]\n\n[proxy]", want{3, "proxy", "already"}},
		{"list in two ways", "headers = []\n[[headers]]\nname = \"x\"", want{2, "headers", "already"}},
		{"integer out of range", "[proxy]\nmax_connections = 99999999999999999999", want{2, "proxy.max_connections", "too large"}},
		{"float out of range", "[proxy]\ntimeout_secs = 1e999", want{2, "proxy.timeout_secs", "parse"}},

		{"zero", "[proxy]\ntimeout_secs = 0", want{2, "proxy.timeout_secs", "is zero"}},
		{"minus zero", "[proxy]\ntimeout_secs = -0.0", want{2, "proxy.timeout_secs", "is zero"}},
		{"zero idle", "[proxy]\nidle_timeout_secs = 0", want{2, "proxy.idle_timeout_secs", "is zero"}},
		{"zero connections", "[proxy]\nmax_connections = 0", want{2, "proxy.max_connections", "is zero"}},
		{"zero body", "[proxy]\nmax_body_mib = 0", want{2, "proxy.max_body_mib", "is zero"}},
		{"zero poll", "[tailscale]\npoll_interval_secs = 0", want{2, "tailscale.poll_interval_secs", "is zero"}},
		{"zero connect", "[tailscale]\nconnect_timeout_secs = 0", want{2, "tailscale.connect_timeout_secs", "is zero"}},
		{"negative", "[proxy]\ntimeout_secs = -1", want{2, "proxy.timeout_secs", "is negative"}},
		{"negative queue", "[proxy]\nqueue_timeout_secs = -1", want{2, "proxy.queue_timeout_secs", "is negative"}},
		{"negative drain", "[proxy]\ndrain_timeout_secs = -0.1", want{2, "proxy.drain_timeout_secs", "is negative"}},
		{"negative connections", "[proxy]\nmax_connections = -1", want{2, "proxy.max_connections", "is negative"}},
		{"infinite", "[proxy]\ntimeout_secs = inf", want{2, "proxy.timeout_secs", "not a finite number"}},
		{"minus infinite", "[proxy]\nqueue_timeout_secs = -inf", want{2, "proxy.queue_timeout_secs", "not a finite number"}},
		{"not a number", "[proxy]\ndrain_timeout_secs = nan", want{2, "proxy.drain_timeout_secs", "not a finite number"}},
		{"overflow", "[proxy]\ntimeout_secs = 9223372036854775807", want{2, "proxy.timeout_secs", "too large; write at most 86400 seconds"}},
		{"too long", "[proxy]\ntimeout_secs = 86400.5", want{2, "proxy.timeout_secs", "too large"}},
		{"too short", "[proxy]\ntimeout_secs = 1e-9", want{2, "proxy.timeout_secs", "too small"}},
		{"body overflow", "[proxy]\nmax_body_mib = 9223372036854775807", want{2, "proxy.max_body_mib", "too large; write at most 1048576"}},
		{"connections overflow", "[proxy]\nmax_connections = 4294967296", want{2, "proxy.max_connections", "too large"}},

		{"no address", "[proxy]\nlisten_addr = \"\"", want{2, "proxy.listen_addr", "not an address"}},
		{"no port", "[proxy]\nlisten_addr = \"127.0.0.1\"", want{2, "proxy.listen_addr", "not an address"}},
		{"named port", "[proxy]\nlisten_addr = \"127.0.0.1:http\"", want{2, "proxy.listen_addr", "not an address"}},
		{"large port", "[proxy]\nadmin_addr = \"127.0.0.1:65536\"", want{2, "proxy.admin_addr", "not an address"}},
		{"signed port", "[proxy]\nadmin_addr = \"127.0.0.1:-1\"", want{2, "proxy.admin_addr", "not an address"}},
		{"malformed host", "[proxy]\nlisten_addr = \"127.0.0.l:80\"", want{2, "proxy.listen_addr", "not an address"}},
		{"URL for an address", "[proxy]\nlisten_addr = \"http://127.0.0.1:80\"", want{2, "proxy.listen_addr", "not an address"}},
		{"control in a zone", "[proxy]\nlisten_addr = \"[fe80::1%\\u0001]:80\"", want{2, "proxy.listen_addr", "not an address"}},
		{"same address", "[proxy]\nlisten_addr = \"127.0.0.1:80\"\nadmin_addr = \"localhost:80\"", want{3, "proxy.admin_addr", "clashes with proxy.listen_addr"}},
		{"same port everywhere", "[proxy]\nadmin_addr = \":80\"\nlisten_addr = \"127.0.0.1:80\"", want{2, "proxy.admin_addr", "clashes"}},
		{"clash with a default", "[proxy]\n\nlisten_addr = \"127.0.0.1:9090\"", want{3, "proxy.listen_addr", "clashes with proxy.admin_addr"}},

		{"no URL", "[proxy]\nupstream_url = \"\"", want{2, "proxy.upstream_url", "no scheme"}},
		{"no scheme", "[proxy]\nupstream_url = \"api.anthropic.com\"", want{2, "proxy.upstream_url", "no scheme"}},
		{"host and port", "[proxy]\nupstream_url = \"127.0.0.1:80\"", want{2, "proxy.upstream_url", "not a URL"}},
		{"other scheme", "[proxy]\nupstream_url = \"ftp://api.anthropic.com\"", want{2, "proxy.upstream_url", "scheme other than"}},
		{"no host", "[proxy]\nupstream_url = \"https://\"", want{2, "proxy.upstream_url", "no host"}},
		{"only a port", "[proxy]\nupstream_url = \"https://:443\"", want{2, "proxy.upstream_url", "no host"}},
		{"opaque", "[proxy]\nupstream_url = \"https:api.anthropic.com\"", want{2, "proxy.upstream_url", "no host"}},
		{"odd host", "[proxy]\nupstream_url = \"https://-a\"", want{2, "proxy.upstream_url", "malformed host"}},
		{"empty label", "[proxy]\nupstream_url = \"https://a..b\"", want{2, "proxy.upstream_url", "malformed host"}},
		{"port 0", "[proxy]\nupstream_url = \"https://a:0\"", want{2, "proxy.upstream_url", "malformed port"}},
		{"empty port", "[proxy]\nupstream_url = \"https://a:\"", want{2, "proxy.upstream_url", "malformed port"}},
		{"large port", "[proxy]\nupstream_url = \"https://a:70000\"", want{2, "proxy.upstream_url", "malformed port"}},
		{"secret for a port", "[proxy]\nupstream_url = \"https://a:hunter2\"", want{2, "proxy.upstream_url", "not a URL"}},
		{"http", "[proxy]\nupstream_url = \"http://api.anthropic.com\"", want{2, "proxy.upstream_url", "plain http"}},
		{"http to a private address", "[proxy]\nupstream_url = \"http://10.0.0.1\"", want{2, "proxy.upstream_url", "plain http"}},
		{"http to what looks like loopback", "[proxy]\nupstream_url = \"http://127.0.0.1.example.com\"", want{2, "proxy.upstream_url", "plain http"}},
		{"http to every address", "[proxy]\nupstream_url = \"http://0.0.0.0\"", want{2, "proxy.upstream_url", "plain http"}},
		{"user", "[proxy]\nupstream_url = \"https://me:hunter2@a\"", want{2, "proxy.upstream_url", "user name or password"}},
		{"query", "[proxy]\nupstream_url = \"https://a?key=hunter2\"", want{2, "proxy.upstream_url", "query or a fragment"}},
		{"empty query", "[proxy]\nupstream_url = \"https://a?\"", want{2, "proxy.upstream_url", "query or a fragment"}},
		{"fragment", "[proxy]\nupstream_url = \"https://a/#hunter2\"", want{2, "proxy.upstream_url", "query or a fragment"}},
		{"path", "[proxy]\nupstream_url = \"https://a/v1\"", want{2, "proxy.upstream_url", "contains a path"}},
		{"own address (9110 7.6)", "[proxy]\nupstream_url = \"http://localhost:8080\"", want{2, "proxy.upstream_url", "own address"}},
		{"own address by default port", "[proxy]\nlisten_addr = \":80\"\nupstream_url = \"http://127.0.0.1\"", want{3, "proxy.upstream_url", "own address"}},

		{"missing CA file", "[proxy]\nupstream_ca_file = \"/hunter2\"", want{2, "proxy.upstream_ca_file", "no such file"}},
		{"odd CA file name", "[proxy]\nupstream_ca_file = \"/hunter2\\n\"", want{2, "proxy.upstream_ca_file", "plain text"}},
		{"empty CA file", "[proxy]\nupstream_ca_file = \"/dev/null\"", want{2, "proxy.upstream_ca_file", "contains no PEM certificate"}},
		{"endless CA file", "[proxy]\nupstream_ca_file = \"/dev/zero\"", want{2, "proxy.upstream_ca_file", "larger than 4096 KiB"}},

		{"egress without a scheme", "[proxy]\negress_proxy = \"proxy:3128\"", want{2, "proxy.egress_proxy", "scheme other than http and https"}},
		{"egress over SOCKS", "[proxy]\negress_proxy = \"socks5://me:hunter2@proxy:1080\"", want{2, "proxy.egress_proxy", "scheme other than http and https"}},
		{"egress without a host", "[proxy]\negress_proxy = \"http://me:hunter2@:3128\"", want{2, "proxy.egress_proxy", "no host"}},
		{"egress with an odd host", "[proxy]\negress_proxy = \"http://me:hunter2@-a:3128\"", want{2, "proxy.egress_proxy", "malformed host"}},
		{"egress with an odd port", "[proxy]\negress_proxy = \"http://me:hunter2@a:70000\"", want{2, "proxy.egress_proxy", "malformed port"}},
		{"egress with a path", "[proxy]\negress_proxy = \"http://me:hunter2@a/hunter2\"", want{2, "proxy.egress_proxy", "contains a path"}},
		{"egress with a query", "[proxy]\negress_proxy = \"http://a?hunter2\"", want{2, "proxy.egress_proxy", "contains a path, a query"}},
		{"egress without a user", "[proxy]\negress_proxy = \"http://:hunter2@a\"", want{2, "proxy.egress_proxy", "malformed credentials"}},
		{"egress with a colon in the user", "[proxy]\negress_proxy = \"http://a%3Ab:hunter2@a\"", want{2, "proxy.egress_proxy", "malformed credentials"}},
		{"egress with a bare percent", "[proxy]\negress_proxy = \"http://me:hunter2%@a\"", want{2, "proxy.egress_proxy", "malformed credentials; write"}},
		{"egress with a hidden line", "[proxy]\negress_proxy = \"http://me:hunter2%0d%0ax@a\"", want{2, "proxy.egress_proxy", "malformed credentials"}},
		{"egress with a bare slash", "[proxy]\negress_proxy = \"http://me:/hunter2@a\"", want{2, "proxy.egress_proxy", "malformed port"}},
		{"egress over more than a line", "[proxy]\negress_proxy = \"http://me:hunter2@a\\n\"", want{2, "proxy.egress_proxy", "is not a URL"}},
		{"egress to ourselves", "[proxy]\negress_proxy = \"http://localhost:8080\"", want{2, "proxy.egress_proxy", "own address"}},

		{"profiles for everybody", "[proxy]\nadmin_addr = \":9090\"\nadmin_pprof = true", want{3, "proxy.admin_pprof", "loopback; remove it, or bind"}},
		{"profiles for a network", "[proxy]\nadmin_pprof = true\nadmin_addr = \"10.0.0.1:9090\"", want{2, "proxy.admin_pprof", "needs a proxy.admin_addr that is loopback"}},

		{"mode", "[tailscale]\nmode = \"on\"", want{2, "tailscale.mode", "unknown; write \"sidecar\" or \"off\""}},
		{"empty hostname", "[tailscale]\nhostname = \"\"", want{2, "tailscale.hostname", "short name"}},
		{"full hostname", "[tailscale]\nhostname = \"a.ts.net\"", want{2, "tailscale.hostname", "short name"}},
		{"long hostname", "[tailscale]\nhostname = \"" + long + "\"", want{2, "tailscale.hostname", "short name"}},
		{"long socket", "[tailscale]\nsocket = \"" + long + "\"", want{2, "tailscale.socket", "longer"}},
		{"control in the socket", "[tailscale]\nsocket = \"/a\\u0000\"", want{2, "tailscale.socket", "plain text"}},
		{"control in the state dir", "[tailscale]\nstate_dir = \"/a\\n\"", want{2, "tailscale.state_dir", "plain text"}},
		{"peer with a port", "[tailscale]\nreachability_peer = \"ai:80\"", want{2, "tailscale.reachability_peer", "neither"}},
		{"missing key file", "[tailscale]\nauth_key_file = \"tskey-hunter2\"", want{2, "tailscale.auth_key_file", "no such file"}},
		{"empty key file", "[tailscale]\nauth_key_file = \"/dev/null\"", want{2, "tailscale.auth_key_file", "empty file"}},

		{"rule without a name", "\n[[headers]]\nvalue = \"hunter2\"", want{2, "headers[0].name", "missing"}},
		{"rule without a value", "[[headers]]\nname = \"x-a\"", want{1, "headers[0].value", "missing"}},
		{"malformed name", "[[headers]]\nname = \"authorization: hunter2\"\nvalue = \"x\"", want{2, "headers[0].name", "not a header name"}},
		{"protected name", "[[headers]]\nname = \"x-a\"\nvalue = \"1\"\n[[headers]]\nvalue = \"hunter2\"\nname = \"AUTHORIZATION\"", want{6, "headers[1].name", "authorization is the client's credential"}},
		{"hop-by-hop name", "headers = [{name = \"te\", value = \"x\"}]", want{1, "headers[0].name", "hop-by-hop"}},
		{"control in a value", "[[headers]]\nname = \"x-a\"\nvalue = \"hunter2\\r\\nx-b: 1\"", want{3, "headers[0].value", "control character"}},
		{"space around a value", "[[headers]]\nname = \"x-a\"\nvalue = \" hunter2\"", want{3, "headers[0].value", "space"}},
		{"unknown rule mode", "[[headers]]\nname = \"x-a\"\nvalue = \"hunter2\"\nmode = \"add\"", want{4, "headers[0].mode", "unknown; write merge, set or default"}},
		{"rule undone", "headers = [{name = \"x-a\", value = \"1\"},\n{name = \"X-A\", value = \"2\"}]", want{2, "headers[1].name", "overrides"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.text)
			_, err := Load(Sources{Path: path, Getenv: environ()})
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a *Error", err)
			}
			if bad.File != path || bad.Line != tc.want.line || bad.Column < 1 || bad.Key != tc.want.key {
				t.Errorf("blames %s:%d:%d %q, want line %d, key %q", bad.File, bad.Line, bad.Column, bad.Key, tc.want.line, tc.want.key)
			}
			if !strings.Contains(err.Error(), tc.want.says) || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("got %q, want one line with %q", err, tc.want.says)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the value is shown: %v", err)
			}
		})
	}
}

func TestRefusesEnvironment(t *testing.T) {
	for _, tc := range []struct{ name, variable, value, says string }{
		{"level", "LOG_LEVEL", "verbose-hunter2", "not a log level; set it to one of trace, debug, info, warn, error"},
		{"level that hides errors", "LOG_LEVEL", "disabled", "not a log level"},
		{"numeric level", "LOG_LEVEL", "1", "not a log level"},
		{"socket", "TAILSCALE_SOCKET", "/hunter2\n", "not plain text"},
		{"hostname with a dot", "TAILSCALE_HOSTNAME", "hunter2.example", "not a MagicDNS short name"},
		{"socket of other bytes", "TAILSCALE_SOCKET", "/\xff", "not plain text"},
	} {
		_, err := Load(Sources{Getenv: environ(tc.variable, tc.value)})
		var bad *Error
		if !errors.As(err, &bad) || bad.Key != tc.variable || bad.File != "environment" {
			t.Errorf("%s: got %v, want an error about %s", tc.name, err, tc.variable)
			continue
		}
		if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %q, want %q and no value", tc.name, err, tc.says)
		}
	}
}

func TestReportsEveryProblemInTheOrderOfTheFile(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"values", "headers = [{name = \"host\", value = \"x\"}]\n[proxy]\ntimeout_secs = 0\nlisten_addr = \"x\"\n[tailscale]\nmode = \"on\"",
			[]string{"LOG_LEVEL", ":1:13: headers[0].name", ":3:1: proxy.timeout_secs", ":4:1: proxy.listen_addr", ":6:1: tailscale.mode"}},
		{"names and types", "a = 1\n[proxy]\ntimeout_secs = \"x\"\n  b = 2\n[c]\nd = 1",
			[]string{"LOG_LEVEL", ":1:1: a", ":3:1: proxy.timeout_secs", ":4:3: proxy.b", ":5:2: c"}},
	} {
		_, err := Load(Sources{Path: write(t, tc.text), Getenv: environ("LOG_LEVEL", "loud")})
		if err == nil {
			t.Fatalf("%s: accepted", tc.name)
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(tc.want) {
			t.Errorf("%s: got %d problems, want %d:\n%v", tc.name, len(lines), len(tc.want), err)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(lines[i], want+": ") {
				t.Errorf("%s: line %d is %q, want %q", tc.name, i, lines[i], want)
			}
		}
	}
}

func TestReportsAScreenfulAtMost(t *testing.T) {
	for name, text := range map[string]string{
		"unknown keys": strings.Repeat("a = 1\n", 1000),
		"elements":     "headers = [" + strings.Repeat("1,", 1000) + "]",
		"values":       strings.Repeat("[[headers]]\n", 1000),
	} {
		_, err := Load(Sources{Path: write(t, text), Getenv: environ()})
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if n := strings.Count(err.Error(), "\n") + 1; n != maxProblems {
			t.Errorf("%s: %d problems, want %d", name, n, maxProblems)
		}
	}
}
