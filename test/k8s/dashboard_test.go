package k8s

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// queries returns the dashboard's expressions with its variables filled in.
func queries(t *testing.T) []string {
	t.Helper()
	text, err := load(t).Read("components/alerts/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatalf("read dashboard: %v", err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*", "$pod", ".*")
	var found []string
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, value := range node {
				if expression, ok := value.(string); ok && key == "expr" {
					found = append(found, fill.Replace(expression))
				}
				walk(value)
			}
		case []any:
			for _, value := range node {
				walk(value)
			}
		}
	}
	walk(dashboard)
	if len(found) < 20 {
		t.Fatalf("the dashboard has only %d queries", len(found))
	}
	return found
}

// A proxy is the real binary on loopback, without a tailnet.
type proxy struct{ binary, data, admin string }

// startProxy builds and starts the binary and sends it one request that fails
// on its way upstream, so that the counters of errors have something to count.
func startProxy(t *testing.T) proxy {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "anthropic-oauth-proxy")
	build := exec.Command(repository+"/.ci/build", binary)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build proxy: %v\n%s", err, out)
	}
	p := proxy{binary: binary, data: freeAddress(t), admin: freeAddress(t)}
	config := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("[tailscale]\nmode = \"off\"\n[proxy]\nlisten_addr = %q\nadmin_addr = %q\nupstream_url = \"http://%s\"\n", p.data, p.admin, freeAddress(t))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ended by us
		if t.Failed() {
			t.Logf("the proxy said:\n%s", log.String())
		}
	})
	await(t, "the proxy is ready", func() bool { return get("http://"+p.admin+"/readyz") != "" })
	res, err := http.Post("http://"+p.data+"/v1/messages", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadGateway {
		t.Fatalf("without an upstream the proxy answers %d, want 502", res.StatusCode)
	}
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// get returns the body of a 200 answer, else nothing.
func get(target string) string {
	res, err := http.Get(target)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// conditional metrics are absent where they would mean nothing: a key that
// does not expire, a tailnet that nobody watches. The binary must know them.
var conditional = []string{"tailnet_key_expiry_timestamp_seconds", "tailnet_last_poll_timestamp_seconds"}

// Every metric that an alert or the dashboard names is one that the binary has.
func TestQueriesNameMetricsThatExist(t *testing.T) {
	p := startProxy(t)
	var exposed string
	await(t, "the first request is counted", func() bool {
		exposed = get("http://" + p.admin + "/metrics")
		return strings.Contains(exposed, "proxy_requests_total{") && strings.Contains(exposed, "proxy_request_duration_seconds_bucket{")
	})
	have := map[string]bool{"up": true} // Prometheus' own
	for _, match := range regexp.MustCompile(`(?m)^([a-z_]+)[ {]`).FindAllStringSubmatch(exposed, -1) {
		have[match[1]] = true
	}
	program, err := os.ReadFile(p.binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range conditional {
		have[name] = bytes.Contains(program, []byte(name))
	}
	missing := func(expression string) (missing []string) {
		names, err := MetricNames(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		}
		for _, name := range names {
			if !have[name] {
				missing = append(missing, name)
			}
		}
		return missing
	}
	if found := missing(`rate(proxy_request_total[5m]) > 0`); len(found) != 1 {
		t.Errorf("a misspelt metric goes unnoticed: %q", found)
	}
	expressions := queries(t)
	for _, rule := range every(alerts(t)) {
		expressions = append(expressions, rule.Expr.String())
	}
	for _, expression := range expressions {
		if found := missing(expression); len(found) > 0 {
			t.Errorf("%s: the binary has no metric %q", expression, found)
		}
	}
}

const scrapeConfig = `global: {scrape_interval: 1s}
scrape_configs:
  - job_name: anthropic-oauth-proxy
    static_configs: [{targets: ["%s"], labels: {namespace: n, pod: p}}]
`

// A real Prometheus scrapes the binary and answers every query of the
// dashboard. Some answers are rightly empty: nothing is impaired, no key
// expires. None is an error.
func TestPrometheusAnswersTheDashboard(t *testing.T) {
	p := startProxy(t)
	dir, address := t.TempDir(), freeAddress(t)
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, scrapeConfig, p.admin), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	prometheus := exec.CommandContext(ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+dir, "--web.listen-address="+address)
	var log bytes.Buffer
	prometheus.Stderr = &log
	if err := prometheus.Start(); err != nil {
		t.Fatalf("start prometheus (Debian's package prometheus): %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = prometheus.Wait() // ended by us
	})
	query := func(expression string) (status string, results int) {
		var answer struct {
			Status string
			Data   struct{ Result []any }
		}
		body := get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expression))
		_ = json.Unmarshal([]byte(body), &answer) // an empty status says it
		return answer.Status, len(answer.Data.Result)
	}
	await(t, "Prometheus has scraped the proxy twice", func() bool {
		_, n := query(`count_over_time(up{job="anthropic-oauth-proxy"}[1m]) > 2`)
		return n == 1
	})
	answered := 0
	for _, expression := range queries(t) {
		status, results := query(expression)
		if status != "success" {
			t.Errorf("Prometheus does not answer %s: %q", expression, status)
		}
		if results > 0 {
			answered++
		}
	}
	t.Logf("%d of %d queries have results", answered, len(queries(t)))
	if answered < len(queries(t))/2 {
		t.Errorf("only %d of %d queries have results", answered, len(queries(t)))
	}
}
