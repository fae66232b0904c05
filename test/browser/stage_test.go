// Package browser looks at the status page as its readers do: with a real
// browser, while the service behind it is broken on purpose.
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/internal/testkit/tailscaled"
	"anthropic-oauth-proxy/messages"
	"anthropic-oauth-proxy/supervisor"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// patience is how long a test waits for what must come; only a failing one
// waits so long.
const patience = 30 * time.Second

// stage is the service with a simulated API behind it, a tailscaled beside it,
// and actors that fail on command.
type stage struct {
	t      *testing.T
	api    *sim.API
	daemon *tailscaled.Daemon
	system *supervisor.System
	log    *harness.Buffer
	stdout *stdout
	actors map[string]*saboteur
	proxy  string // host:port
	admin  string
	client *http.Client

	exited chan struct{}
	exit   messages.Exit
}

// start builds and runs the service; it is ended with the test. lines are
// further ones of [proxy].
func start(t *testing.T, lines string) *stage {
	t.Helper()
	api, err := sim.Start(sim.Options{Protocol: sim.Plain})
	if err != nil {
		t.Fatal(err)
	}
	ports, err := testkit.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{
		t: t, api: api, daemon: tailscaled.New(t, "Running"), log: new(harness.Buffer), actors: make(map[string]*saboteur), exited: make(chan struct{}),
		stdout: new(stdout),
		proxy:  fmt.Sprintf("127.0.0.1:%d", ports[0]), admin: fmt.Sprintf("127.0.0.1:%d", ports[1]),
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	s.client = &http.Client{Transport: transport}
	s.stdout.log = s.log
	out := telemetry.NewLines(s.stdout)
	s.system, err = supervisor.Build(s.config(lines), supervisor.Options{
		Version: "v0.4.0", Log: telemetry.NewLogger(out, zerolog.InfoLevel), Decorate: s.sabotage,
		Collectors: []prometheus.Collector{out}, LogState: out.State,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		defer close(s.exited)
		s.exit = s.system.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel(context.Canceled)
		<-s.exited
		s.stdout.flow()
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		api.Close()
		if t.Failed() {
			t.Logf("log of the service:\n%s", s.log)
		}
	})
	s.eventually("it is ready", func() bool {
		code, _ := s.page("/readyz")
		return code == http.StatusOK
	})
	return s
}

func (s *stage) config(lines string) config.Config {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "proxy.toml")
	text := fmt.Sprintf("[tailscale]\nsocket = %q\npoll_interval_secs = 0.2\n[proxy]\nlisten_addr = %q\nadmin_addr = %q\nupstream_url = %q\n%s\n",
		s.daemon.Socket, s.proxy, s.admin, s.api.URL(), lines)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	c, err := config.Load(config.Sources{Path: file, Getenv: func(string) string { return "" }})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// page fetches an admin page; code is 0 when nobody answers.
func (s *stage) page(path string) (code int, body string) {
	res, err := s.client.Get("http://" + s.admin + path)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(b)
}

// eventually waits until something is true.
func (s *stage) eventually(what string, holds func() bool) {
	s.t.Helper()
	for late := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// send asks the proxy for a message, as the claude command would, and reads
// the answer to its end.
func (s *stage) send(agent, credential string, plan sim.Plan) {
	s.t.Helper()
	res, err := s.open(context.Background(), agent, credential, plan)
	if err != nil {
		return // a plan may break the answer
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
}

const claude = "claude-cli/2.1.330 (external, cli)"

func (s *stage) open(ctx context.Context, agent, credential string, plan sim.Plan) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.proxy+"/v1/messages?beta=true",
		strings.NewReader(`{"model":"claude-sim-1","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+credential)
	req.Header.Set(sim.PlanHeader, plan.Encode())
	return s.client.Do(req)
}

// hold opens a stream that stays open until the test ends.
func (s *stage) hold(plan sim.Plan) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res, err := s.open(ctx, claude, "sk-ant-oat01-x", plan)
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); res.Body.Close() })
}

// stdout is a standard output that can stand still.
type stdout struct {
	log  *harness.Buffer
	gate sync.Mutex
	shut bool
}

func (o *stdout) Write(p []byte) (int, error) {
	o.gate.Lock()
	defer o.gate.Unlock()
	return o.log.Write(p)
}

// stall makes it stand still, flow moves it again; one test calls them.
func (o *stdout) stall() { o.gate.Lock(); o.shut = true }

func (o *stdout) flow() {
	if o.shut {
		o.shut = false
		o.gate.Unlock()
	}
}

// sabotage wraps an actor.
func (s *stage) sabotage(inner suture.Service) suture.Service {
	a := &saboteur{Service: inner, name: inner.(fmt.Stringer).String()}
	s.actors[a.name] = a
	return a
}

// saboteur is an actor that fails on command.
type saboteur struct {
	suture.Service
	name string

	mu     sync.Mutex
	cancel context.CancelFunc
	doomed bool
	lives  atomic.Int32
}

func (a *saboteur) String() string { return a.name }

func (a *saboteur) Serve(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	a.cancel, a.doomed = cancel, false
	a.mu.Unlock()
	a.lives.Add(1)
	err := a.Service.Serve(inner)
	a.mu.Lock()
	doomed := a.doomed
	a.mu.Unlock()
	if doomed {
		panic(errors.New("runtime error: invalid memory address or nil pointer dereference"))
	}
	return err
}

// panics ends the current life by a panic and waits for the next one.
func (a *saboteur) panics(s *stage) {
	s.t.Helper()
	life := a.lives.Load()
	a.mu.Lock()
	a.doomed = true
	a.cancel()
	a.mu.Unlock()
	s.eventually(a.name+" lives again", func() bool { return a.lives.Load() > life })
}
