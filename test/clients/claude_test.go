package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// A claudeRun is what became of one turn of the real claude command.
type claudeRun struct {
	exit    int
	whole   bool // its result is the API's whole text
	plain   int  // requests without streaming: the fallback, which may run tools twice
	streams int  // requests with streaming
	models  map[string]bool
	took    time.Duration
	said    string
}

// The ends of a turn, from right to worse.
const (
	right         = iota
	anotherModel  // mended by the fallback model
	plainFallback // mended by a second, plain request
	lost
)

func (r claudeRun) rank() int {
	switch {
	case r.exit != 0 || !r.whole:
		return lost
	case r.plain > 0:
		return plainFallback
	case len(r.models) > 1:
		return anotherModel
	}
	return right
}

func (r claudeRun) String() string {
	return fmt.Sprintf("%s (exit %d, %d streams, %d plain, %d models, %s)",
		[]string{"right", "another model", "plain fallback", "lost"}[r.rank()], r.exit, r.streams, r.plain, len(r.models), r.took.Round(100*time.Millisecond))
}

// A claudeProfile is a way in which people run the command.
type claudeProfile struct {
	name string
	env  []string
	args []string
}

var claudeProfiles = []claudeProfile{
	{"no plain fallback", []string{"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK=1"}, nil},
	{"as installed", nil, nil},
	{"Opus", nil, []string{"--model", "claude-opus-4-8"}},
	{"fallback model", nil, []string{"--model", "claude-sonnet-5", "--fallback-model", "claude-haiku-4-5"}},
}

// claudeTurn runs one turn against a base URL. Requests are counted by the
// caller's API.
func claudeTurn(t *testing.T, profile claudeProfile, baseURL, caFile string) claudeRun {
	t.Helper()
	launcher := filepath.Join(nodePackages(t), "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	argv := append([]string{launcher, "-p", "hello", "--output-format", "json"}, profile.args...)
	cmd := exec.CommandContext(ctx, "node", argv...)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CLAUDE_CONFIG_DIR=" + t.TempDir(),
		"HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9", "NO_PROXY=127.0.0.1",
		"ANTHROPIC_AUTH_TOKEN=sk-ant-oat01-test", "ANTHROPIC_BASE_URL=" + baseURL, "NODE_EXTRA_CA_CERTS=" + caFile,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_TELEMETRY=1", "DISABLE_AUTOUPDATER=1", "DISABLE_ERROR_REPORTING=1",
	}, profile.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var run claudeRun
	var exit *exec.ExitError
	if run.took = time.Since(began); err != nil && !errors.As(err, &exit) {
		run.exit, run.said = -1, err.Error()
		return run
	}
	run.exit = cmd.ProcessState.ExitCode()
	var result struct{ Result string }
	_ = json.Unmarshal(stdout.Bytes(), &result) // a lost turn may print no JSON
	run.whole = strings.TrimSpace(result.Result) == strings.TrimSpace(sim.Text(3))
	run.said = stdout.String() + stderr.String()
	return run
}

// count adds what the API saw of the turn.
func (r *claudeRun) count(requests []*sim.Request) {
	r.models = map[string]bool{}
	for _, req := range requests {
		if req.Method != http.MethodPost || !strings.HasPrefix(req.Target, "/v1/messages?") {
			continue
		}
		<-req.Ended()
		var body struct {
			Model  string
			Stream bool
		}
		if json.Unmarshal(req.Body, &body) != nil {
			continue // it was cut off
		}
		r.models[body.Model] = true
		if body.Stream {
			r.streams++
		} else {
			r.plain++
		}
	}
}

// firstly answers the first n Messages requests by a plan and the rest whole.
func firstly(n int32, plan sim.Plan) func(*http.Request) sim.Plan {
	var seen atomic.Int32
	return func(r *http.Request) sim.Plan {
		if r.Method == http.MethodPost && r.URL.Path == "/v1/messages" && seen.Add(1) <= n {
			return plan
		}
		return sim.Plan{}
	}
}

// The faults of an API that speaks for itself: each turn is run twice, once
// straight at it and once through us, and must end no worse.
var claudeFaults = []struct {
	name    string
	plan    sim.Plan
	allowed map[string]int // ranks by profile that specs/decisions.md accepts
}{
	{name: "cut after message_start", plan: sim.Plan{CutAfter: 1}},
	{name: "cut between two events", plan: sim.Plan{CutAfter: 4}},
	{name: "cut inside an event", plan: sim.Plan{CutAfter: 4, CutInside: true}},
	{name: "cut after a whole block", plan: sim.Plan{CutAfter: 7}},
	{name: "cut in a tool's input", plan: sim.Plan{CutAfter: 4, Tool: true}},
	// A 502 tells a person what a closed connection would not; to the command
	// with a fallback model it is the sign to use that.
	{name: "cut before the head", plan: sim.Plan{CutHead: true}, allowed: map[string]int{"fallback model": anotherModel}},
}

// everyClaude is all profiles, or with -short the strictest alone.
func everyClaude() []claudeProfile {
	if testing.Short() {
		return claudeProfiles[:1]
	}
	return claudeProfiles
}

func TestClaudeFaresNoWorse(t *testing.T) {
	nodePackages(t)
	for _, profile := range everyClaude() {
		for _, fault := range claudeFaults {
			t.Run(profile.name+"/"+fault.name, func(t *testing.T) {
				t.Parallel()
				through := throughUs(t, profile, "", func(p *pair) { p.api.SetPlan(firstly(1, fault.plan)) })
				t.Logf("through us: %s", through)
				if through.rank() == right {
					return
				}
				direct := straight(t, profile, firstly(1, fault.plan))
				t.Logf("straight:   %s", direct)
				if through.rank() > max(direct.rank(), fault.allowed[profile.name]) {
					t.Errorf("worse through us: %s\nstraight: %s", through.said, direct.said)
				}
			})
		}
	}
}

func straight(t *testing.T, profile claudeProfile, plan func(*http.Request) sim.Plan) claudeRun {
	t.Helper()
	api, err := sim.Start(sim.Options{Protocol: sim.TLS1})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	api.SetPlan(plan)
	run := claudeTurn(t, profile, api.URL(), writeCA(t, api.CA()))
	run.count(api.Requests())
	return run
}

func throughUs(t *testing.T, profile claudeProfile, settings string, prepare func(*pair)) claudeRun {
	t.Helper()
	p := start(t, sim.Options{}, harness.Options{Proxy: settings})
	prepare(p)
	run := claudeTurn(t, profile, p.proxy.URL(), "")
	run.count(p.api.Requests())
	return run
}

// An idle stream that we end ourselves is asked for again as a stream. The
// command's own clock, at five minutes, would end it worse.
func TestClaudeAfterOurIdleClock(t *testing.T) {
	nodePackages(t)
	for _, profile := range everyClaude() {
		t.Run(profile.name, func(t *testing.T) {
			t.Parallel()
			run := throughUs(t, profile, "idle_timeout_secs = 2", func(p *pair) {
				p.api.SetPlan(firstly(1, sim.Plan{CutAfter: 4, Stall: true}))
			})
			wantRight(t, run)
		})
	}
}

func wantRight(t *testing.T, run claudeRun) {
	t.Helper()
	t.Log(run)
	if run.rank() != right {
		t.Errorf("the turn did not end right:\n%s", run.said)
	}
}

// What HTTP/2 can do to a stream, a client of HTTP/1.1 must not suffer from
// more than from a broken connection.
func TestClaudeOverBrokenHTTP2(t *testing.T) {
	nodePackages(t)
	for _, profile := range everyClaude() {
		for name, fault := range map[string]sim.FrameFault{
			"refused": sim.RefuseIt, "reset": sim.ResetIt, "goaway": sim.GoAwayIt, "goaway past it": sim.GoAwayPast,
		} {
			t.Run(profile.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				ca, err := sim.NewCA()
				if err != nil {
					t.Fatal(err)
				}
				file := writeCA(t, ca)
				faulty := 1
				if fault == sim.RefuseIt {
					faulty = 5 // more than a quick retry would mend
				}
				api, err := sim.StartFrames(ca, func(n int) sim.FrameFault {
					if n <= faulty {
						return fault
					}
					return sim.Whole
				})
				if err != nil {
					t.Fatal(err)
				}
				defer api.Close()
				p := startProxy(t, harness.Options{Upstream: api.URL(), CAFile: file})
				wantRight(t, claudeTurn(t, profile, p.proxy.URL(), ""))
			})
		}
	}
}

// A rolling restart with one endpoint: the stream in flight is cut at the
// drain's deadline, the next process comes up at the same address.
func TestClaudeThroughARestart(t *testing.T) {
	nodePackages(t)
	for _, profile := range everyClaude() {
		t.Run(profile.name+"/cut by the drain's deadline", func(t *testing.T) {
			t.Parallel()
			p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 1"})
			p.api.SetPlan(firstly(1, sim.Plan{CutAfter: 4, Stall: true}))
			wantRight(t, restarted(t, p, profile, func() {
				p.poll(t, "the stream runs", func() bool { return p.api.Total() > 0 })
			}))
		})
		t.Run(profile.name+"/arriving while another drains", func(t *testing.T) {
			t.Parallel()
			p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 6"})
			p.openStreams(t, 1, sim.Plan{Gated: true})
			wantRight(t, restarted(t, p, profile, func() {}))
		})
	}
}

// restarted runs a turn while the service is ended, when its moment has come,
// and started anew after its exit.
func restarted(t *testing.T, p *pair, profile claudeProfile, moment func()) claudeRun {
	t.Helper()
	before := len(p.api.Requests())
	done := make(chan claudeRun)
	go func() { done <- claudeTurn(t, profile, p.proxy.URL(), "") }()
	moment()
	p.proxy.Signal(syscall.SIGTERM)
	await(t, "the first process ends", p.proxy.Exited())
	harness.Start(t, harness.Options{Addr: p.proxy.Addr, Upstream: p.api.URL(), CAFile: writeCA(t, p.api.CA())})
	run := <-done
	run.count(p.api.Requests()[before:])
	return run
}

// An API that is down for nine seconds is waited for as long through us.
func TestClaudeWhileTheAPIIsDown(t *testing.T) {
	nodePackages(t)
	const down = 9 * time.Second
	for _, profile := range everyClaude() {
		t.Run(profile.name, func(t *testing.T) {
			t.Parallel()
			ca, err := sim.NewCA()
			if err != nil {
				t.Fatal(err)
			}
			file := writeCA(t, ca)
			turn := func(url func(api string) string) claudeRun {
				ports, err := testkit.FreePorts(1)
				if err != nil {
					t.Fatal(err)
				}
				addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
				var api *sim.API
				up := make(chan struct{})
				base := url("https://" + addr)
				timer := time.AfterFunc(down, func() {
					defer close(up)
					if api, err = sim.Start(sim.Options{Addr: addr, CA: ca}); err != nil {
						t.Error(err)
					}
				})
				defer timer.Stop()
				run := claudeTurn(t, profile, base, file)
				if timer.Stop() {
					return run // it gave up before the API came back
				}
				<-up
				if api != nil {
					defer api.Close()
					run.count(api.Requests())
				}
				return run
			}
			through := turn(func(api string) string {
				return startProxy(t, harness.Options{Upstream: api, CAFile: file}).proxy.URL()
			})
			t.Logf("through us: %s", through)
			if through.rank() == right {
				return
			}
			direct := turn(func(api string) string { return api })
			t.Logf("straight:   %s", direct)
			if through.rank() > direct.rank() {
				t.Errorf("worse through us:\n%s", through.said)
			}
		})
	}
}
