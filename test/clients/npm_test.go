package clients

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// node is where npm put the packages of testdata/npm.
var node = sync.OnceValues(func() (string, error) { return harness.NodePackages("testdata/npm") })

// nodePackages returns where the npm packages are. An npm that cannot install
// fails the test.
func nodePackages(t *testing.T) string {
	t.Helper()
	harness.Tool(t, "the TypeScript SDK and the claude command", "npm")
	dir, err := node()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runNode runs a script with an environment of its own: nothing of the
// caller's credentials or settings reaches it, and what is not addressed to
// loopback goes to a proxy that does not exist.
func runNode(t *testing.T, workDir string, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", argv...)
	cmd.Dir = workDir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9", "NO_PROXY=127.0.0.1",
	}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s\n%s", filepath.Base(argv[0]), err, out, stderr.String())
	}
	return string(out)
}

func TestTypeScriptSDK(t *testing.T) {
	dir := nodePackages(t)
	script, err := filepath.Abs("testdata/npm/drive.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		out := runNode(t, t.TempDir(), nil, script, dir, p.proxy.URL(), sim.Text(50))
		var got struct {
			Streams int
			Tokens  int
			Errors  []string
			Models  int
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v in %q", protocol, err, out)
		}
		want := []string{"400 invalid_request_error", "429 rate_limit_error", "529 overloaded_error"}
		if got.Streams != 3 || got.Tokens < 20 || got.Models != 1 || !slices.Equal(got.Errors, want) {
			t.Errorf("%s: got %+v", protocol, got)
		}
	}
}

func TestClaudeCommand(t *testing.T) {
	dir := nodePackages(t)
	launcher := filepath.Join(dir, "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs")
	for _, token := range []string{"ANTHROPIC_AUTH_TOKEN=sk-ant-oat01-test", "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-test"} {
		name, _, _ := strings.Cut(token, "=")
		t.Run(name, func(t *testing.T) {
			p := start(t, sim.Options{}, harness.Options{LogLevel: "debug"})
			p.api.SetPlan(func(*http.Request) sim.Plan { return sim.Plan{Deltas: 40} })
			env := []string{
				token, "ANTHROPIC_BASE_URL=" + p.proxy.URL(), "CLAUDE_CONFIG_DIR=" + t.TempDir(),
				"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_TELEMETRY=1", "DISABLE_AUTOUPDATER=1", "DISABLE_ERROR_REPORTING=1",
			}
			workDir := t.TempDir() // conversations are kept per directory
			for _, turn := range [][]string{{"-p", "hello"}, {"-p", "go on", "--continue"}} {
				argv := append([]string{launcher, "--output-format", "stream-json", "--include-partial-messages", "--verbose"}, turn...)
				checkClaude(t, runNode(t, workDir, env, argv...))
			}
			checkClaudeRequests(t, p)
		})
	}
}

// checkClaude looks for the streamed pieces and for the whole in what the
// command printed.
func checkClaude(t *testing.T, out string) {
	t.Helper()
	var streamed strings.Builder
	var result string
	for line := range strings.Lines(out) {
		var msg struct {
			Type   string
			Result string
			Event  struct {
				Type  string
				Delta struct{ Text string }
			}
		}
		if err := json.Unmarshal([]byte(line), &msg); err != nil {
			t.Fatalf("claude printed %q: %v", line, err)
		}
		if msg.Event.Type == "content_block_delta" {
			streamed.WriteString(msg.Event.Delta.Text)
		}
		if msg.Type == "result" {
			result = msg.Result
		}
	}
	want := sim.Text(40)
	if streamed.String() != want || strings.TrimSpace(result) != strings.TrimSpace(want) {
		t.Errorf("streamed %q, result %q, want %q", streamed.String(), result, want)
	}
}

// checkClaudeRequests looks at what reached the API.
func checkClaudeRequests(t *testing.T, p *pair) {
	t.Helper()
	messages := 0
	for _, r := range p.api.Requests() {
		t.Logf("%s %s %s, %d bytes", r.Proto, r.Method, r.Target, r.BodyBytes)
		if !strings.HasPrefix(r.Target, "/v1/messages") {
			continue
		}
		messages++
		members := strings.Split(strings.Join(r.Header.Values("Anthropic-Beta"), ","), ",")
		oauth := 0
		for _, m := range members {
			if strings.TrimSpace(m) == "oauth-2025-04-20" {
				oauth++
			}
		}
		if oauth != 1 || len(members) < 3 {
			t.Errorf("anthropic-beta is %q: want the client's own members and the OAuth one once", members)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer sk-ant-oat01-test" {
			t.Errorf("authorization is %q", got)
		}
	}
	if messages < 2 {
		t.Errorf("%d Messages requests reached the API, want one a turn", messages)
	}
}
