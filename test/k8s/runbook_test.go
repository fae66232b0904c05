package k8s

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
)

func runbook(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(repository + "/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anchor is how GitHub names a heading in a link.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}

func TestRunbookHasASectionForEveryAlertAndNoOther(t *testing.T) {
	_, section, _ := strings.Cut(runbook(t), "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, heading := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(section, -1) {
		documented = append(documented, heading[1])
	}
	var defined []string
	for _, rule := range every(alerts(t)) {
		defined = append(defined, rule.Alert)
	}
	slices.Sort(documented)
	slices.Sort(defined)
	if !slices.Equal(documented, defined) {
		t.Errorf("alerts are %q, sections are %q", defined, documented)
	}
}

func TestRunbookLinksAndSnippets(t *testing.T) {
	text := runbook(t)
	headings := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		headings[anchor(heading[1])] = true
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		if !headings[link[1]] {
			t.Errorf("a link leads to #%s, which is no heading", link[1])
		}
	}
	for _, snippet := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1) {
		var any any
		if err := json.Unmarshal([]byte(snippet[1]), &any); err != nil {
			t.Errorf("a snippet is no JSON: %v\n%s", err, snippet[1])
		}
	}
}

// The tree on the first page begins its branches with words that the verdict of
// `status` really begins with.
func TestRunbookTreeKnowsTheVerdicts(t *testing.T) {
	var code strings.Builder
	files, err := filepath.Glob(repository + "/internal/status/verdict*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("find the verdicts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	_, tree, _ := strings.Cut(runbook(t), "the line in brackets says\n")
	tree, _, _ = strings.Cut(tree, "```")
	quoted := regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(tree, -1)
	if len(quoted) < 8 {
		t.Fatalf("the tree quotes only %d verdicts", len(quoted))
	}
	for _, branch := range quoted {
		for words := range strings.SplitSeq(branch[1], "…") {
			if words = strings.TrimSpace(words); words != "" && !strings.Contains(strings.ToLower(code.String()), strings.ToLower(words)) {
				t.Errorf("no verdict says %q", words)
			}
		}
	}
}

// acting are the commands in the RUNBOOK's sentences that change something, and
// the phase of the cluster test that does the same.
var acting = map[string]string{
	"kubectl rollout restart statefulset/anthropic-oauth-proxy": "rollout restart with 50 streams",
	"kubectl apply -k":        "preflight and verify say yes",
	"k8s/preflight":           "preflight and verify say yes",
	"k8s/preflight -k DIR":    "a second install beside the first",
	"k8s/verify -n NAMESPACE": "a second install beside the first",
	"kubectl port-forward anthropic-oauth-proxy-0 9090": "every command of the RUNBOOK",
}

// Every command of the RUNBOOK is run by a test, or says why not.
func TestRunbookCommandsAreTested(t *testing.T) {
	phases, err := os.ReadFile("cluster/cluster_test.go")
	if err != nil {
		t.Fatal(err)
	}
	isPhase := func(name string) bool { return strings.Contains(string(phases), "{\""+name+"\", d.") }
	all, err := RunbookBlocks(runbook(t))
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, block := range all {
		phase := regexp.MustCompile(`^run: phase "(.*)"$`).FindStringSubmatch(block.How)
		switch {
		case block.How == "run: healthy", block.How == "run: last":
			run++
		case phase != nil && isPhase(phase[1]):
			run++
		case strings.HasPrefix(block.How, "not run: "):
		default:
			t.Errorf("no phase of the cluster test is called as %q says", block.How)
		}
	}
	if run < 15 {
		t.Errorf("only %d snippets are run", run)
	}
	for _, command := range RunbookCommands(runbook(t)) {
		if phase, known := acting[command]; !LooksOnly(command) && (!known || !isPhase(phase)) {
			t.Errorf("no phase of the cluster test runs `%s`", command)
		}
	}
	if _, err := RunbookBlocks("Look:\n\n```sh\nkubectl get pods\n```\n"); err == nil {
		t.Error("a snippet that nobody runs goes unnoticed")
	}
}

// What the RUNBOOK shows of the binary is what the binary does.
func TestRunbookSpeaksOfTheBinaryAsItIs(t *testing.T) {
	p := startProxy(t)
	program, err := os.ReadFile(p.binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile("`((?:proxy|tailnet|supervisor|lifecycle)_[a-z_]+)`").FindAllStringSubmatch(runbook(t), -1) {
		if !strings.Contains(string(program), name[1]) {
			t.Errorf("the binary knows no %s", name[1])
		}
	}
	res, err := http.Post("http://"+p.data+"/v1/messages", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(runbook(t), "<!-- example: own error -->\n```json\n")
	example, _, _ = strings.Cut(example, "```")
	if got, want := members(t, string(body)), members(t, example); !slices.Equal(got, want) {
		t.Errorf("an error of our own has %q, the RUNBOOK shows %q", got, want)
	}
	if id := res.Header.Get("x-proxy-request-id"); !strings.HasPrefix(id, "req_") || !strings.Contains(string(body), id) {
		t.Errorf("x-proxy-request-id is %q, the body %s", id, body)
	}
	for _, path := range []string{"/health", "/readyz", "/livez", "/metrics", "/debug/tree", "/"} {
		if get("http://"+p.admin+path) == "" {
			t.Errorf("the admin port does not answer GET %s with 200", path)
		}
	}
}

// members are the names in a JSON object and in its "error" object.
func members(t *testing.T, object string) []string {
	t.Helper()
	var outer map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &outer); err != nil {
		t.Fatalf("read %s: %v", object, err)
	}
	var inner map[string]any
	if err := json.Unmarshal(outer["error"], &inner); err != nil {
		t.Fatalf("read %s: %v", object, err)
	}
	return slices.Concat(slices.Sorted(maps.Keys(outer)), slices.Sorted(maps.Keys(inner)))
}

func TestScriptsPassShellcheck(t *testing.T) {
	shellcheck := harness.Tool(t, "the scripts' shell", "shellcheck")
	for _, script := range []string{repository + "/k8s/preflight", repository + "/k8s/verify", "cluster/images"} {
		if out, err := exec.Command(shellcheck, "--shell=sh", script).CombinedOutput(); err != nil {
			t.Errorf("shellcheck %s (Debian's package shellcheck): %v\n%s", script, err, out)
		}
	}
}
