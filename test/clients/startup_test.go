package clients

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
)

// Each of these must end with exit code 2 and one message that names what is
// wrong and where, before anything listens.
func TestBadConfigurationIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		file string
		env  []string
		want []string
	}{
		"unknown key":          {"[proxy]\nlisten_adr = \"127.0.0.1:0\"\n", nil, []string{"FILE", "2", "listen_adr"}},
		"wrong type":           {"[proxy]\n\nmax_connections = \"many\"\n", nil, []string{"FILE", "3", "max_connections"}},
		"not TOML":             {"[proxy\n", nil, []string{"FILE", "1"}},
		"URL without a scheme": {"[proxy]\nupstream_url = \"api.anthropic.com\"\n", nil, []string{"FILE", "upstream_url"}},
		"URL without a host":   {"[proxy]\nupstream_url = \"https://\"\n", nil, []string{"FILE", "upstream_url"}},
		"http to a stranger":   {"[proxy]\nupstream_url = \"http://api.anthropic.com\"\n", nil, []string{"FILE", "upstream_url", "https"}},
		"zero limit":           {"[proxy]\nmax_connections = 0\n", nil, []string{"FILE", "max_connections"}},
		"negative time":        {"[proxy]\ntimeout_secs = -1\n", nil, []string{"FILE", "timeout_secs"}},
		"bad address":          {"[proxy]\nlisten_addr = \"nowhere\"\n", nil, []string{"FILE", "listen_addr"}},
		"protected header":     {"[[headers]]\nname = \"Authorization\"\nvalue = \"Bearer secret-value\"\n", nil, []string{"FILE", "headers"}},
		"malformed header":     {"[[headers]]\nname = \"a b\"\nvalue = \"x\"\n", nil, []string{"FILE", "headers"}},
		"control character":    {"[[headers]]\nname = \"x-a\"\nvalue = \"a\\u0000b\"\n", nil, []string{"FILE", "headers"}},
		"unknown mode":         {"[tailscale]\nmode = \"on\"\n", nil, []string{"FILE", "mode"}},
		"LOG_LEVEL nonsense":   {"", []string{"LOG_LEVEL=loud"}, []string{"LOG_LEVEL", "debug"}},
	} {
		file := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"serve", "check-config"} {
			code, out := harness.Run(harness.Options{Dir: dir, Env: c.env}, command, "--config", file)
			if code != 2 {
				t.Errorf("%s, %s: exit code %d\n%s", name, command, code, out)
			}
			for _, want := range c.want {
				if want == "FILE" {
					want = file
				}
				if !strings.Contains(out, want) {
					t.Errorf("%s, %s: the message lacks %q:\n%s", name, command, want, out)
				}
			}
			if strings.Contains(out, "secret-value") {
				t.Errorf("%s, %s: the message holds a header's value:\n%s", name, command, out)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":               {[]string{"--help"}, 0, "usage:"},
		"version":            {[]string{"version"}, 0, "go1."},
		"unknown command":    {[]string{"dance"}, 2, "command"},
		"unknown flag":       {[]string{"--dance"}, 2, "dance"},
		"missing file":       {[]string{"serve", "--config", "/nonexistent/config.toml"}, 2, "/nonexistent/config.toml"},
		"a directory":        {[]string{"serve", "--config", "/"}, 2, "/"},
		"check of a default": {[]string{"check-config"}, 0, "upstream_url"},
	} {
		code, out := harness.Run(harness.Options{Dir: t.TempDir()}, c.args...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s", name, code, c.code, c.want, out)
		}
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for _, key := range []string{"listen_addr", "admin_addr"} {
		other := map[string]string{"listen_addr": "admin_addr", "admin_addr": "listen_addr"}[key]
		file := filepath.Join(dir, key+".toml")
		text := "[tailscale]\nmode = \"off\"\n[proxy]\n" + key + " = \"" + taken.Addr().String() + "\"\n" + other + " = \"127.0.0.1:0\"\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := harness.Run(harness.Options{Dir: dir}, "--config", file)
		if code != 1 || !strings.Contains(out, taken.Addr().String()) {
			t.Errorf("%s in use: exit code %d\n%s", key, code, out)
		}
	}
}
