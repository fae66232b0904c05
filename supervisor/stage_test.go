package supervisor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = testkit.Patience

// logBook keeps what is logged.
type logBook struct{ testkit.Buffer }

// count is how many lines of an event there are.
func (l *logBook) count(event string) int {
	return strings.Count(l.String(), fmt.Sprintf(`"event":%q`, event))
}

// stage is a built service with actors that fail on command.
type stage struct {
	t      *testing.T
	system *System
	log    *logBook
	actors map[string]*saboteur
	edge   string // host:port
	admin  string

	cancel context.CancelCauseFunc
	exited chan struct{}
	exit   messages.Exit
}

// setting is what a test chooses of a service.
type setting struct {
	upstream string
	socket   string // of tailscaled; empty means mode = "off"
	proxy    string // further lines of [proxy]
	tailnet  string // further lines of [tailscale]
	listen   string // the proxy port's address; empty means any
	hook     zerolog.Hook
	// replace, when not nil, puts another service in the place of an actor.
	replace   func(suture.Service) suture.Service
	lastWords func(reason string, goroutines []byte)
}

// load writes the configuration to a file and reads it as the program does.
func (set setting) load(t *testing.T) config.Config {
	t.Helper()
	mode := "off"
	if set.socket != "" {
		mode = "sidecar"
	}
	if set.listen == "" {
		set.listen = "127.0.0.1:0"
	}
	if set.upstream == "" {
		set.upstream = "http://127.0.0.1:9" // discard
	}
	file := filepath.Join(t.TempDir(), "proxy.toml")
	text := fmt.Sprintf("[tailscale]\nmode = %q\nsocket = %q\n%s\n[proxy]\nlisten_addr = %q\nadmin_addr = \"127.0.0.1:0\"\nupstream_url = %q\n%s\n",
		mode, set.socket, set.tailnet, set.listen, set.upstream, set.proxy)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{Path: file, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// build makes a service that does not run yet.
func build(t *testing.T, set setting) *stage {
	t.Helper()
	s := &stage{t: t, log: &logBook{}, actors: make(map[string]*saboteur), exited: make(chan struct{})}
	log := zerolog.New(s.log).Level(zerolog.InfoLevel)
	if set.hook != nil {
		log = log.Hook(set.hook)
	}
	lines := telemetry.NewLines(io.Discard) // for its metric: the book wants its lines at once
	t.Cleanup(func() { lines.Close() })
	options := Options{Version: "test", Log: log, LastWords: set.lastWords, Collectors: []prometheus.Collector{lines}}
	options.Decorate = func(inner suture.Service) suture.Service {
		if set.replace != nil {
			inner = set.replace(inner)
		}
		a := newSaboteur(inner)
		s.actors[a.name] = a
		return a
	}
	system, err := Build(set.load(t), options)
	if err != nil {
		t.Fatal(err)
	}
	s.system = system
	addr, err := system.admin.Bind()
	if err != nil {
		t.Fatal(err)
	}
	s.admin = addr.String()
	return s
}

// run starts the service. It is ended with the test.
func (s *stage) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.exited)
		s.exit = s.system.Run(ctx)
	}()
	s.t.Cleanup(func() {
		cancel(context.Canceled)
		<-s.exited
		if s.t.Failed() {
			s.t.Logf("log of the service:\n%s", s.log)
		}
	})
}

// start builds, runs and waits until every actor lives and the service is
// running.
func start(t *testing.T, set setting) *stage {
	t.Helper()
	s := build(t, set)
	addr, err := s.system.edge.Bind()
	if err != nil {
		t.Fatal(err)
	}
	s.edge = addr.String()
	s.run()
	for _, a := range s.actors {
		<-a.born
	}
	s.await(messages.Running)
	return s
}

// await waits for a phase.
func (s *stage) await(p messages.Phase) {
	s.t.Helper()
	late := time.After(patience)
	for {
		state, changed := s.system.state.Load()
		if state.Phase == p {
			return
		}
		select {
		case <-changed:
		case <-late:
			s.t.Fatalf("still %s, never %s", state.Phase, p)
		}
	}
}

// ends waits for the end of Run.
func (s *stage) ends() messages.Exit {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("Run goes on")
	}
	return s.exit
}

func (s *stage) shutdown(cause string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.system.Shutdown(ctx, cause); err != nil {
		s.t.Fatalf("ask for the end: %v", err)
	}
}

func (s *stage) interrupt(cause string) {
	s.t.Helper()
	if err := s.system.Interrupt(context.Background(), cause); err != nil {
		s.t.Fatalf("interrupt: %v", err)
	}
}

// direct dials for every request: what a restart does to a connection must
// show.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func get(url string) (int, string, error) {
	res, err := direct.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// page fetches an admin page.
func (s *stage) page(path string) (int, string) {
	s.t.Helper()
	code, body, err := get("http://" + s.admin + path)
	if err != nil {
		s.t.Fatalf("get %s: %v", path, err)
	}
	return code, body
}

// metric reads one series off /metrics, such as `name{label="value"}`.
func (s *stage) metric(series string) float64 {
	s.t.Helper()
	_, body := s.page("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				s.t.Fatalf("read %s: %v", line, err)
			}
			return v
		}
	}
	s.t.Fatalf("no series %s", series)
	return 0
}

func (s *stage) restarts(service, reason string) float64 {
	s.t.Helper()
	return s.metric(fmt.Sprintf("supervisor_restarts_total{reason=%q,service=%q}", reason, service))
}

// eventually waits until a condition on the pages is true.
func (s *stage) eventually(what string, holds func() bool) {
	s.t.Helper()
	for late := time.Now().Add(patience); !holds(); {
		if time.Now().After(late) {
			s.t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond) // the service needs the processor too
	}
}
