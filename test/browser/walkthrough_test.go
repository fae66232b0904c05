package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/test/sim"
)

// fault is one thing that goes wrong, and what names the culprit: the verdict
// on the page and in the terminal, a line of the log, a metric.
type fault struct {
	name, title string
	proxy       string // further lines of [proxy]
	inject      func(s *stage)
	verdict     string // part of the sentence
	log         string // an expression that a line of the log matches
	metric      string // one that a line of /metrics matches
}

const token = "sk-ant-oat01-x"

var faults = []fault{
	{
		name: "panic-loop", title: "An actor in a panic loop",
		inject: func(s *stage) {
			for range 4 {
				s.actors["tailnet"].panics(s)
			}
		},
		verdict: "the service tailnet keeps failing",
		log:     `"event":"service_panic".*"service":"tailnet"`,
		metric:  `supervisor_restarts_total{reason="panic",service="tailnet"} [4-9]`,
	},
	{
		name: "tailscaled-hangs", title: "tailscaled hangs",
		inject:  func(s *stage) { s.daemon.Hang() },
		verdict: "The tailnet is gone",
		log:     `"event":"tailnet".*"reason":"timeout"`,
		metric:  `tailnet_state{state="timeout"} 1`,
	},
	{
		name: "api-overloaded", title: "The API answers 529",
		inject: func(s *stage) {
			for i := range 30 {
				plan := sim.Plan{}
				if i >= 10 {
					plan.Status = 529
				}
				s.send(claude, token, plan)
			}
		},
		verdict: "Not us: the API has answered 529",
		log:     `"event":"request".*"status":529.*"ended_by":"upstream"`,
		metric:  `proxy_client_answers_total{class="529",client="claude-cli/2.1.330"} 20`,
	},
	{
		name: "api-silent", title: "The API falls silent in the middle of a stream",
		proxy: "idle_timeout_secs = 0.5",
		inject: func(s *stage) {
			for range 4 {
				s.send(claude, token, sim.Plan{CutAfter: 2, Stall: true})
			}
		},
		verdict: "has fallen silent in the middle of",
		log:     `"event":"request".*"ended_by":"upstream".*"cause":"silent"`,
		metric:  `proxy_streams_total{end="silence"} 4`,
	},
	{
		name: "placeholder", title: "A gateway sends a placeholder in place of a credential",
		inject: func(s *stage) {
			for range 12 {
				s.send("Aperture/1.0", "-", sim.Plan{Status: 401})
			}
		},
		verdict: "have come with a placeholder in place of a credential",
		log:     `"event":"placeholder_credential".*"remedy"`,
		metric:  `proxy_credentials_total{class="placeholder"} 12`,
	},
	{
		name: "bad-release", title: "A release of the client sends a body that the API refuses",
		inject: func(s *stage) {
			for i := range 30 {
				s.send(claude, token, sim.Plan{})
				if i%3 == 0 {
					s.send("claude-cli/2.1.331 (external, cli)", token, sim.Plan{Status: 400})
				}
			}
		},
		verdict: "100 % of the requests of claude-cli/2.1.331",
		log:     `"event":"request".*"status":400.*"client":"claude-cli/2.1.331"`,
		metric:  `proxy_client_answers_total{class="4xx",client="claude-cli/2.1.331"} 10`,
	},
	{
		name: "stdout-stalled", title: "stdout stands still",
		inject: func(s *stage) {
			s.stdout.stall()
			var clients sync.WaitGroup
			for range 8 { // more lines than wait for a reader
				clients.Go(func() {
					for range 320 {
						s.send(claude, token, sim.Plan{})
					}
				})
			}
			clients.Wait()
		},
		verdict: "stdout has taken no log line",
		log:     `"event":"log_lines_dropped"`,
		metric:  `log_lines_dropped_total [1-9]`,
	},
}

// Seven faults, one after the other: the page, the terminal, the log and a
// metric each name the culprit. With STATUS_IMAGES set the pictures are kept,
// and the RUNBOOK's walkthrough is written anew from what was seen.
func TestWalkthrough(t *testing.T) {
	var told strings.Builder
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			w := openBrowser(t)
			s := start(t, f.proxy)
			w.look(s)
			f.inject(s)
			w.awaits("#part-verdict", f.verdict)
			w.shootTop("fault-" + f.name)
			terminal := s.terminal()
			s.stdout.flow() // what stood still is over now, and tells
			log := s.logLine(f.log)
			metric := s.metricLine(f.metric)
			if !strings.Contains(terminal, f.verdict) {
				t.Errorf("the terminal does not say %q: %s", f.verdict, terminal)
			}
			fmt.Fprintf(&told, "### %d. %s\n\n![%s](specs/images/fault-%s.png)\n\n```\n$ anthropic-oauth-proxy status\n%s```\n\n```json\n%s\n```\n\n```\n%s\n```\n\n",
				i+1, f.title, f.title, f.name, terminal, log, metric)
			w.quiet()
		})
	}
	if os.Getenv(imagesVariable) != "" && !t.Failed() {
		rewrite(t, told.String())
	}
}

// terminal is the beginning of what `status` prints.
func (s *stage) terminal() string {
	s.t.Helper()
	code, body := s.page("/debug/status")
	var snap status.Snapshot
	if err := json.Unmarshal([]byte(body), &snap); err != nil || code != http.StatusOK {
		s.t.Fatalf("/debug/status: %d %v %s", code, err, body)
	}
	var all strings.Builder
	if err := snap.WriteText(&all, false); err != nil {
		s.t.Fatal(err)
	}
	_, text, _ := strings.Cut(all.String(), "\n\n")
	text, _, _ = strings.Cut(text, "\n\n")
	return text + "\n"
}

func (s *stage) logLine(expression string) string {
	s.t.Helper()
	return s.line("the log", expression, func() string { return s.log.String() })
}

func (s *stage) metricLine(expression string) string {
	s.t.Helper()
	return s.line("/metrics", expression, func() string {
		_, body := s.page("/metrics")
		return body
	})
}

// line waits for one that matches; stacks are cut off.
func (s *stage) line(where, expression string, all func() string) (found string) {
	s.t.Helper()
	re := regexp.MustCompile(expression)
	s.eventually(where+" has a line "+expression, func() bool {
		for line := range strings.Lines(all()) {
			if re.MatchString(line) && !strings.HasPrefix(line, "#") {
				found = strings.TrimSpace(line)
				return true
			}
		}
		return false
	})
	return regexp.MustCompile(`"stack":"[^"]*"`).ReplaceAllString(found, `"stack":"…"`)
}

// The marks between which the RUNBOOK's walkthrough stands.
const (
	walkthroughBegins = "<!-- walkthrough: written by test/browser, see make screenshots -->\n"
	walkthroughEnds   = "<!-- end of the walkthrough -->\n"
	runbook           = "../../RUNBOOK.md"
)

func rewrite(t *testing.T, text string) {
	t.Helper()
	was, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(was), walkthroughBegins)
	_, after, closed := strings.Cut(rest, walkthroughEnds)
	if !found || !closed {
		t.Fatal("the RUNBOOK has no place for the walkthrough")
	}
	if err := os.WriteFile(runbook, []byte(before+walkthroughBegins+"\n"+text+walkthroughEnds+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The RUNBOOK's walkthrough tells of the faults that are tested, with a picture
// of each.
func TestTheRunbookTellsOfEachFault(t *testing.T) {
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range faults {
		if !strings.Contains(string(text), fmt.Sprintf("### %d. %s\n", i+1, f.title)) || !strings.Contains(string(text), f.verdict) {
			t.Errorf("the RUNBOOK does not tell of %q: %q", f.title, f.verdict)
		}
		picture := filepath.Join("../../specs/images", "fault-"+f.name+".png")
		if info, err := os.Stat(picture); err != nil || info.Size() < 1000 || !strings.Contains(string(text), "specs/images/fault-"+f.name+".png") {
			t.Errorf("%s: %v", picture, err)
		}
	}
}
