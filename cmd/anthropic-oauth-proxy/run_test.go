package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// none is an empty environment.
func none(string) string { return "" }

// file writes a configuration and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "proxy.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// local is a configuration for this machine alone.
func local(listen, admin string) string {
	return fmt.Sprintf("[tailscale]\nmode = \"off\"\n[proxy]\nlisten_addr = %q\nadmin_addr = %q\nupstream_url = \"http://127.0.0.1:9\"\n", listen, admin)
}

func TestRun(t *testing.T) {
	const any = "127.0.0.1:0"
	taken := testkit.Occupied(t)
	good := file(t, local(any, any))
	bad := file(t, "[proxy]\ntimeout_secs = 0\n")
	absent := filepath.Join(t.TempDir(), "absent.toml")
	for _, tc := range []struct {
		name     string
		args     []string
		env      map[string]string
		code     int
		out, err []string // what stdout and stderr contain; none: they are empty
	}{
		{"--help", []string{"--help"}, nil, 0, []string{usage}, nil},
		{"-h", []string{"-h"}, nil, 0, []string{usage}, nil},
		{"help of a command", []string{"serve", "--help"}, nil, 0, []string{usage}, nil},
		{"version", []string{"version"}, nil, 0, []string{"anthropic-oauth-proxy dev (go1."}, nil},
		{"version needs no configuration", []string{"version", "--config", absent}, nil, 0, []string{"anthropic-oauth-proxy dev"}, nil},
		{"unknown command", []string{"sevre"}, nil, 2, nil, []string{"unknown command: use serve, check-config, healthcheck, status, doctor, dump or version", "--help"}},
		{"unknown flag", []string{"--port", "80"}, nil, 2, nil, []string{"-port", "--help"}},
		{"unknown flag of a command", []string{"serve", "--port=80"}, nil, 2, nil, []string{"-port", "--help"}},
		{"two commands", []string{"version", "serve"}, nil, 2, nil, []string{"too many arguments", "--help"}},
		{"flag without a file", []string{"--config"}, nil, 2, nil, []string{"config", "--help"}},
		{"flag with an empty name", []string{"--config="}, nil, 2, nil, []string{"--config needs a file name"}},
		{"a file that is absent", []string{"serve", "--config", absent}, nil, 2, nil, []string{absent, "--config", "no such file", "name a readable file"}},
		{"an absent file by the environment", nil, map[string]string{"CONFIG_PATH": absent}, 2, nil, []string{absent, "CONFIG_PATH"}},
		{"a bad file", []string{"--config", bad}, nil, 2, nil, []string{bad + ":2:", "proxy.timeout_secs"}},
		{"a bad file, checked", []string{"check-config", "--config", bad}, nil, 2, nil, []string{bad + ":2:", "proxy.timeout_secs"}},
		{"the flag wins", []string{"check-config", "--config", good}, map[string]string{"CONFIG_PATH": absent}, 0, []string{"# source: " + good}, nil},
		{"a bad level", []string{"check-config"}, map[string]string{"LOG_LEVEL": "loud"}, 2, nil, []string{"LOG_LEVEL"}},
		{"bad traces", []string{"check-config"}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "hunter2"}, 2, nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT: write a URL"}},
		{"the defaults", []string{"check-config"}, nil, 0, []string{"built-in defaults", `mode = "off"`}, nil},
		{"a port in use", []string{"--config", file(t, local(taken, any))}, nil, 1, []string{`"exit_code":1`}, []string{taken, "address already in use"}},
		{"the admin port in use", []string{"--config", file(t, local(any, taken))}, nil, 1, []string{`"event":"exit"`}, []string{taken, "address already in use", "proxy.admin_addr"}},
		{"status of nobody", []string{"status", "--config", file(t, local(any, "127.0.0.1:1"))}, nil, 2, nil, []string{"127.0.0.1:1", "refused"}},
		{"status of nobody, as JSON", []string{"status", "--json", "--admin", "127.0.0.1:1"}, nil, 2, nil, []string{"127.0.0.1:1", "refused"}},
		{"status needs no configuration", []string{"--admin=127.0.0.1:1", "status", "--config", absent}, nil, 2, nil, []string{"127.0.0.1:1", "refused"}},
		{"a flag of another command", []string{"serve", "--watch"}, nil, 2, nil, []string{"serve has no --watch", "--help"}},
		{"an empty address", []string{"status", "--admin="}, nil, 2, nil, []string{"--admin needs an address", "--help"}},
		{"health of nobody", []string{"healthcheck", "--config", file(t, local(any, "127.0.0.1:1"))}, nil, 1, nil, []string{"127.0.0.1:1", "refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs testkit.Buffer
			code := run(tc.args, func(k string) string { return tc.env[k] }, &out, &errs)
			if code != tc.code {
				t.Errorf("exit code %d, want %d; stderr: %s", code, tc.code, errs.String())
			}
			for _, stream := range []struct {
				name, text string
				want       []string
			}{{"stdout", out.String(), tc.out}, {"stderr", errs.String(), tc.err}} {
				if len(stream.want) == 0 && stream.text != "" {
					t.Errorf("%s is %q, want nothing", stream.name, stream.text)
				}
				for _, part := range stream.want {
					if !strings.Contains(stream.text, part) {
						t.Errorf("%s lacks %q: %s", stream.name, part, stream.text)
					}
				}
			}
		})
	}
}

// What check-config prints is a configuration, and the same one.
func TestCheckedConfigurationLoadsAgain(t *testing.T) {
	var first, second, errs bytes.Buffer
	if code := run([]string{"check-config"}, none, &first, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	again := file(t, first.String())
	if code := run([]string{"check-config", "--config", again}, none, &second, &errs); code != 0 {
		t.Fatalf("what was printed is refused with %d: %s", code, errs.String())
	}
	body := func(b *bytes.Buffer) string { _, rest, _ := strings.Cut(b.String(), "\n"); return rest } // without the source
	if body(&first) != body(&second) {
		t.Errorf("printed\n%s\nthen\n%s", first.String(), second.String())
	}
}

func TestHealthcheck(t *testing.T) {
	for _, tc := range []struct {
		status, code int
		says         string
	}{{200, 0, "ready"}, {503, 1, "not ready: degraded"}, {404, 1, "who?"}, {302, 1, "elsewhere"}} {
		t.Run(fmt.Sprint(tc.status), func(t *testing.T) {
			admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(tc.status)
				fmt.Fprintln(w, tc.says)
			}))
			defer admin.Close()
			var out, errs bytes.Buffer
			path := file(t, local("127.0.0.1:0", admin.Listener.Addr().String()))
			if code := run([]string{"healthcheck", "--config", path}, none, &out, &errs); code != tc.code || out.String() != tc.says+"\n" {
				t.Errorf("exit code %d and %q, want %d and %q; stderr: %s", code, out.String(), tc.code, tc.says, errs.String())
			}
		})
	}
}

// The whole program, from its start to a signal.
func TestServeUntilASignal(t *testing.T) {
	told := manager(t)
	out, in := io.Pipe()
	var errs testkit.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run([]string{"--config", file(t, local("127.0.0.1:0", "127.0.0.1:0"))}, none, in, &errs)
		in.Close()
	}()
	var admin string
	var phases []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var l struct{ Event, To, Addr, Level, Time, Message string }
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil || l.Event == "" || l.Level == "" || l.Time == "" || l.Message == "" {
			t.Errorf("not a line of the log: %s (%v)", lines.Bytes(), err)
		}
		if l.Event == "admin_ready" {
			admin = l.Addr
		}
		if l.Event != "lifecycle" {
			continue
		}
		phases = append(phases, l.To)
		if l.To == "running" { // and so it listens to signals
			var said testkit.Buffer
			if c := run([]string{"healthcheck", "--config", file(t, local("127.0.0.1:0", admin))}, none, &said, &said); c != 0 || said.String() != "ready\n" {
				t.Errorf("healthcheck: exit code %d, %q", c, said.String())
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c := <-code; c != 0 || errs.String() != "" {
		t.Errorf("exit code %d, stderr %q", c, errs.String())
	}
	if got := strings.Join(phases, " "); got != "starting running draining stopped" {
		t.Errorf("it went through %s", got)
	}
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		if got := told(); got != want {
			t.Errorf("the service manager is told %q, want %q", got, want)
		}
	}
}

// What --help, the README and the package comment say is the same.
func TestTheDocumentsAgree(t *testing.T) {
	readme := read(t, "../../README.md")
	comment := read(t, "main.go")
	usageTable := regexp.MustCompile(`(?m)^  ([a-z-]+)  `).FindAllStringSubmatch(section(usage, "commands:"), -1)
	readmeTable := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(readme, -1)
	for _, table := range []struct {
		name string
		rows [][]string
	}{{"--help", usageTable}, {"README.md", readmeTable}} {
		told := make(map[string]bool)
		for _, row := range table.rows {
			told[row[1]] = true
		}
		for c := range commands {
			if !told[c] {
				t.Errorf("%s does not tell of %s", table.name, c)
			}
		}
		for c := range told {
			if _, there := commands[c]; !there {
				t.Errorf("%s tells of %s, which is no command", table.name, c)
			}
		}
	}
	for c := range commands {
		if !strings.Contains(comment, "//\tanthropic-oauth-proxy "+c) && !strings.Contains(comment, "//\tanthropic-oauth-proxy ["+c+"]") {
			t.Errorf("the package comment does not tell of %s", c)
		}
	}
	for _, word := range []string{"--config", "--help", "CONFIG_PATH", "LOG_LEVEL", "TS_AUTHKEY", "TAILSCALE_SOCKET", "TAILSCALE_HOSTNAME"} {
		if !strings.Contains(usage, word) || !strings.Contains(readme, word) {
			t.Errorf("%s is not in both --help and README.md", word)
		}
	}
}

// section is what stands under a headline, up to the next empty line.
func section(text, headline string) string {
	_, rest, _ := strings.Cut(text, headline+"\n")
	body, _, _ := strings.Cut(rest, "\n\n")
	return body + "\n"
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
