// Package harness builds, starts and stops the service's real binary for
// black-box tests and measurements. Every process it starts listens on free
// loopback ports, gets an environment of its own and nothing of the caller's,
// and is ended by Stop, or by the test that started it.
package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// BinaryVariable names a binary to use in place of a fresh build, for
// example one taken from an image.
const BinaryVariable = "ANTHROPIC_OAUTH_PROXY_BINARY"

// startBudget is how long a process may take from exec to ready.
const startBudget = 15 * time.Second

// stopBudget is how long a process may take from SIGTERM to its end before
// Stop kills it.
const stopBudget = 20 * time.Second

// Build compiles the service into dir, static as it is released, and returns
// the binary's path. It must run inside the test module.
func Build(dir string) (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return path, nil
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "anthropic-oauth-proxy").Output()
	if err != nil {
		return "", fmt.Errorf("find the service's module: %w", err)
	}
	path := filepath.Join(dir, "anthropic-oauth-proxy")
	// By the one recipe, in its own module: what is tested is what is released.
	cmd := exec.Command(filepath.Join(strings.TrimSpace(string(root)), ".ci/build"), path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the service: %w\n%s", err, out)
	}
	return path, nil
}

// Options describe one process. Binary, Upstream and Dir are required.
type Options struct {
	Binary   string
	Upstream string // the base URL
	Dir      string // where the configuration file goes; the caller removes it
	Addr     string // host:port of the data plane, such as a predecessor's; "" finds a free port
	CAFile   string // trusted by SSL_CERT_FILE; "" leaves the system's roots
	Proxy    string // further lines of the [proxy] table
	Rest     string // what follows it in the file, such as [[headers]]
	LogLevel string
	Env      []string  // further NAME=value pairs
	Log      io.Writer // gets stdout and stderr; nil keeps them for Logs
	Wrap     []string  // a command that execs the binary, such as taskset
}

// A Proxy is one running process. Its methods are safe for concurrent use.
type Proxy struct {
	Addr  string // host:port of the data plane
	Admin string // host:port of the admin server
	File  string // its configuration

	cmd    *exec.Cmd
	logs   Buffer
	exited chan struct{}
}

// Launch starts a process and returns when it says that it is ready.
func Launch(o Options) (*Proxy, error) {
	ports, err := testkit.FreePorts(2)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Addr:   "127.0.0.1:" + strconv.Itoa(ports[0]),
		Admin:  "127.0.0.1:" + strconv.Itoa(ports[1]),
		exited: make(chan struct{}),
	}
	if o.Addr != "" {
		p.Addr = o.Addr
	}
	p.File = filepath.Join(o.Dir, "proxy-"+strconv.Itoa(ports[0])+".toml")
	if err := os.WriteFile(p.File, []byte(p.config(o)), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	argv := append(append([]string{}, o.Wrap...), o.Binary, "serve", "--config", p.File)
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = environment(o)
	p.cmd.SysProcAttr = DieWithParent()
	p.cmd.Stdout = o.Log
	if o.Log == nil {
		p.cmd.Stdout = &p.logs
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the exit code is what counts: see ExitCode
	}()
	if err := p.awaitReady(); err != nil {
		p.Kill()
		return nil, fmt.Errorf("start the service: %w\n%s", err, p.Logs())
	}
	return p, nil
}

// Start is Launch for a test: it fails the test, and ends the process after
// it. Binary may come from [Main].
func Start(t testing.TB, o Options) *Proxy {
	t.Helper()
	if o.Binary == "" {
		o.Binary = binary
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	p, err := Launch(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && o.Log == nil {
			t.Logf("log of the service:\n%s", p.tail())
		}
	})
	return p
}

func (p *Proxy) config(o Options) string {
	return fmt.Sprintf("[tailscale]\nmode = \"off\"\n\n[proxy]\nlisten_addr = %q\nadmin_addr = %q\nupstream_url = %q\n%s\n\n%s\n",
		p.Addr, p.Admin, o.Upstream, o.Proxy, o.Rest)
}

func environment(o Options) []string {
	env := []string{"PATH=/usr/bin:/bin", "HOME=" + o.Dir}
	if o.CAFile != "" {
		env = append(env, "SSL_CERT_FILE="+o.CAFile)
	}
	if o.LogLevel != "" {
		env = append(env, "LOG_LEVEL="+o.LogLevel)
	}
	return append(env, o.Env...)
}

func (p *Proxy) awaitReady() error {
	deadline := time.Now().Add(startBudget)
	for time.Now().Before(deadline) {
		if status, _, err := p.AdminGet("/readyz"); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("exit code %d before it was ready", p.ExitCode())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.New("not ready in time")
}

// URL is the base URL of the data plane.
func (p *Proxy) URL() string { return "http://" + p.Addr }

// PID is the process id.
func (p *Proxy) PID() int { return p.cmd.Process.Pid }

// AdminGet fetches a path of the admin server.
func (p *Proxy) AdminGet(path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Close = true // no idle connection outlives the call
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// Logs returns what the process has written so far.
func (p *Proxy) Logs() string { return p.logs.String() }

func (p *Proxy) tail() string {
	logs := p.Logs()
	return logs[max(0, len(logs)-8<<10):]
}

// Signal sends a signal; a process that has ended gets none.
func (p *Proxy) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Exited closes when the process has ended.
func (p *Proxy) Exited() <-chan struct{} { return p.exited }

// ExitCode waits for the process to end and returns its exit code, -1 when a
// signal ended it.
func (p *Proxy) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Stop ends the process in order and returns its exit code; one that takes
// too long is killed.
func (p *Proxy) Stop() int {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopBudget):
		p.Kill()
	}
	return p.ExitCode()
}

// Kill ends the process at once and waits for its end.
func (p *Proxy) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

// PeakMemory is the process's largest resident size so far, in bytes.
func (p *Proxy) PeakMemory() (int64, error) { return p.status("VmHWM") }

// Memory is its resident size now, in bytes.
func (p *Proxy) Memory() (int64, error) { return p.status("VmRSS") }

// status is a size in the kernel's account of the process.
func (p *Proxy) status(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("read memory: no %s", name)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10, err
}

// Run runs the binary to its end, for commands and start-ups that must fail.
// A process that outlives startBudget is killed, and its exit code is -1.
func Run(o Options, args ...string) (exitCode int, output string) {
	if o.Binary == "" {
		o.Binary = binary
	}
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.Binary, args...)
	cmd.Env = environment(o)
	cmd.SysProcAttr = DieWithParent()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// A Buffer is a bytes.Buffer for one writer and many readers.
type Buffer = testkit.Buffer
