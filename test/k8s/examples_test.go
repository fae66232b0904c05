package k8s

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/test/harness"
)

const examples = repository + "/examples"

// stopMargin is what the end takes beside the drain: last words to streams and
// the closing of the ports.
const stopMargin = 15 * time.Second

// exampleConfig loads the examples' configuration with an example's variables.
func exampleConfig(t *testing.T, env map[string]string) config.Config {
	t.Helper()
	c, err := config.Load(config.Sources{Path: examples + "/config.toml", Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("the configuration warns: %q", c.Warnings)
	}
	return c
}

// knownVariables are those that README.md documents, and the Go runtime's.
func knownVariables(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"GOMEMLIMIT"}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(string(readme), -1) {
		known = append(known, row[1])
	}
	return known
}

// compose parses a project as docker compose does, by its schema; a key that
// does not exist is an error.
func compose(text []byte) (*types.Project, error) {
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  examples,
		ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: text}},
	}, func(o *loader.Options) { o.ResolvePaths = false })
}

func composeFile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(examples + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestComposeProject(t *testing.T) {
	project, err := compose(composeFile(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range project.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may do more than it must", name)
		}
		if s.MemLimit == 0 || s.Restart != "unless-stopped" || len(s.Ports) > 0 {
			t.Errorf("%s: memory limit %d, restart %q, ports %v", name, s.MemLimit, s.Restart, s.Ports)
		}
		if name != "network" && s.NetworkMode != "service:network" {
			t.Errorf("%s is in the network %q: tailscaled would not find the proxy on loopback", name, s.NetworkMode)
		}
	}
	sidecar, proxy := project.Services["tailscale"], project.Services["proxy"]
	if want := "ghcr.io/tailscale/tailscale:" + version(t); sidecar.Image != want {
		t.Errorf("the sidecar is %s, the proxy is built with %s", sidecar.Image, want)
	}
	env := map[string]string{}
	for name, value := range proxy.Environment {
		if env[name] = *value; !slices.Contains(knownVariables(t), name) {
			t.Errorf("the proxy knows no variable %s", name)
		}
	}
	c := exampleConfig(t, env)
	if c.Tailscale.Socket != *sidecar.Environment["TS_SOCKET"] || c.Tailscale.Hostname != *sidecar.Environment["TS_HOSTNAME"] {
		t.Errorf("the proxy expects %s at %s, the sidecar is %s at %s", c.Tailscale.Hostname, c.Tailscale.Socket,
			*sidecar.Environment["TS_HOSTNAME"], *sidecar.Environment["TS_SOCKET"])
	}
	if mountAt(sidecar, filepath.Dir(c.Tailscale.Socket)) == "" || mountAt(sidecar, filepath.Dir(c.Tailscale.Socket)) != mountAt(proxy, filepath.Dir(c.Tailscale.Socket)) {
		t.Error("the socket's directory is not one volume in both containers")
	}
	if proxy.StopGracePeriod == nil || time.Duration(*proxy.StopGracePeriod) < c.Proxy.DrainTimeout+stopMargin {
		t.Errorf("stop_grace_period is %v, the drain alone %v", proxy.StopGracePeriod, c.Proxy.DrainTimeout)
	}
	if _, after := proxy.DependsOn["tailscale"]; !after {
		t.Error("the proxy is not stopped before its sidecar")
	}
	if !slices.Equal(proxy.HealthCheck.Test, []string{"CMD", "/anthropic-oauth-proxy", "healthcheck"}) {
		t.Errorf("the health check is %q", proxy.HealthCheck.Test)
	}
	if len(proxy.Configs) != 1 || proxy.Configs[0].Target != env["CONFIG_PATH"] || project.Configs[proxy.Configs[0].Source].File != "./config.toml" {
		t.Errorf("CONFIG_PATH does not lead to the configuration: %+v", proxy.Configs)
	}
}

// A key that Compose does not have must be noticed, or the test above is none.
func TestComposeKeysAreChecked(t *testing.T) {
	broken := strings.Replace(string(composeFile(t)), "stop_grace_period:", "stop_grace_seconds:", 1)
	if _, err := compose([]byte(broken)); err == nil || !strings.Contains(err.Error(), "stop_grace_seconds") {
		t.Errorf("an unknown key is accepted: %v", err)
	}
}

// mountAt names the volume that a service mounts at a directory.
func mountAt(s types.ServiceConfig, dir string) string {
	for _, v := range s.Volumes {
		if v.Target == dir {
			return v.Source
		}
	}
	return ""
}

// unitFile returns the unit, with the program where it is.
func unitFile(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(examples + "/anthropic-oauth-proxy.service")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/local/bin/anthropic-oauth-proxy"
	if !strings.Contains(string(text), installed) {
		t.Fatal("the unit does not start the installed program")
	}
	return strings.Replace(string(text), installed, "ExecStart="+program, 1)
}

// analyze runs systemd's own tool on a unit and returns what it says.
func analyze(t *testing.T, unit string, args ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "anthropic-oauth-proxy.service")
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(harness.Tool(t, "the systemd unit", "systemd-analyze"), append(args, file)...).CombinedOutput()
	return string(out), err
}

func TestUnitIsWhatSystemdUnderstands(t *testing.T) {
	if said, err := analyze(t, unitFile(t, "/bin/true"), "verify", "--man=no"); err != nil || said != "" {
		t.Errorf("systemd-analyze verify (Debian's package systemd): %v\n%s", err, said)
	}
	broken := strings.Replace(unitFile(t, "/bin/true"), "PrivateDevices=", "PrivateDevice=", 1)
	if said, _ := analyze(t, broken, "verify", "--man=no"); !strings.Contains(said, "PrivateDevice") {
		t.Errorf("an unknown key goes unnoticed: %q", said)
	}
}

// systemd scores what a service may still do from 0 to 10; OK ends at 5, and
// tenths are what a network service cannot do without.
func TestUnitIsHardened(t *testing.T) {
	if said, err := analyze(t, unitFile(t, "/bin/true"), "security", "--offline=true", "--no-pager", "--threshold=12"); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, said)
	}
	if said, err := analyze(t, strings.Replace(unitFile(t, "/bin/true"), "ProtectSystem=strict", "", 1), "security", "--offline=true", "--no-pager", "--threshold=10"); err == nil {
		t.Errorf("a writable system passes:\n%s", said)
	}
}

func TestUnitAgreesWithTheConfiguration(t *testing.T) {
	unit := unitFile(t, "/bin/true")
	seconds := func(key string) time.Duration {
		match := regexp.MustCompile(`(?m)^` + key + `=(\d+)$`).FindStringSubmatch(unit)
		if match == nil {
			t.Fatalf("the unit has no %s", key)
		}
		d, err := time.ParseDuration(match[1] + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	env := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^Environment=([A-Z_]+)=(.*)$`).FindAllStringSubmatch(unit, -1) {
		if env[match[1]] = match[2]; !slices.Contains(knownVariables(t), match[1]) {
			t.Errorf("the proxy knows no variable %s", match[1])
		}
	}
	c := exampleConfig(t, env)
	if stop := seconds("TimeoutStopSec"); stop < c.Proxy.DrainTimeout+stopMargin {
		t.Errorf("TimeoutStopSec is %v, the drain alone %v", stop, c.Proxy.DrainTimeout)
	}
	if start := seconds("TimeoutStartSec"); start <= c.Tailscale.ConnectTimeout {
		t.Errorf("TimeoutStartSec is %v: systemd gives up before the proxy says why, after %v", start, c.Tailscale.ConnectTimeout)
	}
	if !strings.Contains(unit, "\nType=notify\n") {
		t.Error("nobody waits until the service is ready")
	}
	// What stands behind the program is what the program takes.
	command := regexp.MustCompile(`(?m)^ExecStart=\S+ (.*)$`).FindStringSubmatch(unit)
	if command == nil || command[1] != "serve --config /etc/anthropic-oauth-proxy/config.toml" {
		t.Errorf("the unit starts %q", command)
	}
}
