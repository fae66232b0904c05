package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// floods are enough requests, of a line of 530 bytes each, to fill a pipe and all
// that may wait for it: a MiB in the writer's hand, and one behind that.
const floods = 4400

// A stdout that is stuck, slow, full or gone changes nothing but the log:
// traffic, places, probes, streams and the exit are as with a good one.
func TestLogsCannotStopTheService(t *testing.T) {
	shell := func(redirect string) func(*testing.T, *harness.Options) {
		return func(_ *testing.T, o *harness.Options) {
			o.Wrap = []string{"/bin/sh", "-c", `exec "$@" ` + redirect, "sh"}
		}
	}
	// pipe makes stdout and stderr a pipe and gives its end to a reader.
	pipe := func(reader func(t *testing.T, r *os.File)) func(*testing.T, *harness.Options) {
		return func(t *testing.T, o *harness.Options) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Close() })
			t.Cleanup(func() { r.Close() })
			o.Log = w
			reader(t, r)
		}
	}
	for _, tc := range []struct {
		name  string
		setUp func(*testing.T, *harness.Options)
		loses bool
	}{
		{"good", func(*testing.T, *harness.Options) {}, false},
		{"a pipe that nobody reads", pipe(func(*testing.T, *os.File) {}), true},
		{"a reader that leaves", pipe(func(_ *testing.T, r *os.File) { r.Close() }), true},
		{"a slow reader", pipe(readSlowly), true},
		{"full", shell(">/dev/full 2>&1"), true},
		{"closed", shell(">&- 2>&-"), false}, // Go opens /dev/null in its place
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := harness.Options{Proxy: "max_connections = 24\ndrain_timeout_secs = 60"}
			tc.setUp(t, &o)
			p := start(t, sim.Options{}, o)
			streams := p.openStreams(t, 8, sim.Plan{Gated: true})
			p.flood(t, floods)
			p.lives(t, len(streams), tc.loses)
			p.proxy.Signal(syscall.SIGTERM)
			for i, r := range streams {
				p.api.Release(fmt.Sprintf("stream-%d", i), 100)
				if rest, err := io.ReadAll(r); err != nil || string(rest) != strings.Join(sim.Events(3)[1:], "") {
					t.Errorf("stream %d: %v, got %q", i, err, rest)
				}
			}
			done := time.Now()
			p.exit(t)
			// A second for the log, and what an idle exit takes at most.
			if took := time.Since(done); took > 10*time.Second {
				t.Errorf("the exit took %v after the last stream", took)
			}
		})
	}
}

// A pipe that was stuck and is read again has whole lines, and every line that
// is missing is told.
func TestLogComesBack(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := start(t, sim.Options{}, harness.Options{Log: w})
	w.Close() // the service has its own
	p.flood(t, floods)
	p.lives(t, 0, true)
	var log harness.Buffer
	whole := make(chan struct{})
	go func() {
		defer close(whole)
		_, _ = io.Copy(&log, r) // it ends with the service
	}()
	p.poll(t, "the log flows again", func() bool { return strings.Contains(log.String(), `"event":"log_lines_dropped"`) })
	p.flood(t, 1)
	p.proxy.Signal(syscall.SIGTERM)
	p.exit(t)
	await(t, "the log's end", whole)
	requests, missing := 0, 0
	for line := range strings.Lines(log.String()) {
		var l struct {
			Event string
			Lines int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("a torn line: %q", line)
		}
		switch l.Event {
		case "request":
			requests++
		case "log_lines_dropped":
			missing += l.Lines
		}
	}
	if sent := p.api.Total(); requests+missing != sent || missing == 0 {
		t.Errorf("%d requests are logged and %d lines told to be missing; %d requests were sent", requests, missing, sent)
	}
}

// flood sends n requests, 8 at a time; each must be answered.
func (p *pair) flood(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	work := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range work {
				res, err := p.send(t.Context(), sim.Plan{}, `{"model":"claude-sim-1","max_tokens":1,"messages":[]}`)
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("request %d: status %d, %v", i, res.StatusCode, err)
				}
				res.Body.Close()
			}
		})
	}
	for i := range n {
		work <- i
		if t.Failed() {
			break
		}
	}
	close(work)
	wg.Wait()
}

// lives checks probes and places: running streams, and no phantom.
func (p *pair) lives(t *testing.T, running int, loses bool) {
	t.Helper()
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		if status, body, err := p.proxy.AdminGet(path); status != http.StatusOK {
			t.Errorf("%s says %d %q, %v", path, status, body, err)
		}
	}
	p.poll(t, "only the streams have a place", func() bool { return p.metric(t, "proxy_requests_in_flight") == float64(running) })
	if dropped := p.metric(t, "log_lines_dropped_total"); (dropped > 0) != loses {
		t.Errorf("log_lines_dropped_total is %v", dropped)
	}
}

// metric reads one number without labels.
func (p *pair) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, page, err := p.proxy.AdminGet("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no %s in /metrics", name)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// readSlowly reads a line a second until the test ends.
func readSlowly(t *testing.T, r *os.File) {
	tick := time.NewTicker(time.Second)
	t.Cleanup(tick.Stop)
	lines := bufio.NewReaderSize(r, 512)
	go func() {
		for {
			select {
			case <-tick.C:
				if _, err := lines.ReadString('\n'); err != nil {
					return
				}
			case <-t.Context().Done():
				return
			}
		}
	}()
}
