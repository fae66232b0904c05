// Package tailnet proves the service against a real tailnet: every fault that
// a tailscaled can have, what the service says of it and how soon.
package tailnet

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// pollInterval is the service's default, in use in every test here.
const pollInterval = 2 * time.Second

// slack is what the promises of detection and recovery add to it.
const slack = 250 * time.Millisecond

func TestMain(m *testing.M) {
	for name, build := range map[string]func() (string, error){"tailscaled": lab.Tailscaled, "the service": lab.ProxyBinary} {
		if _, err := build(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n", name, err)
			os.Exit(1)
		}
	}
	// The tests wait more than they work: one per core would take too long.
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	results.print()
	os.Exit(code)
}

// start brings up a lab for a test. The context is the test's time limit.
func start(t *testing.T, limit time.Duration, o lab.Options) (context.Context, *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l, err := lab.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && l.Proxy.Process != nil {
			t.Logf("log of the service:\n%s", tail(l.Proxy.Logs()))
		}
		if t.Failed() && l.Sidecar.Process != nil {
			t.Logf("log of tailscaled:\n%s", tail(l.Sidecar.Logs()))
		}
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return ctx, l
}

func tail(log string) string { return log[max(0, len(log)-6<<10):] }

// await polls until ok holds and fails the test when ctx ends first.
func await(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: never came", what)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// awaitLog waits for a word in the service's log, which is written a moment
// after the pages know.
func awaitLog(t *testing.T, ctx context.Context, l *lab.Lab, word string) {
	t.Helper()
	await(t, within(t, ctx, 5*time.Second), fmt.Sprintf("%q in the log", word), func() bool {
		return strings.Contains(l.Proxy.Logs(), word)
	})
}

// table collects what was measured, for the end of the run.
type table struct {
	mu   sync.Mutex
	rows map[string]*row
}

// row is one fault over all repetitions: its worst times.
type row struct {
	order             int
	says, reach       string
	known, seen, back time.Duration
	times             int
}

var results = table{rows: map[string]*row{}}

func (r *table) add(fault string, new row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.rows[fault]; old != nil {
		new.known, new.seen, new.back = max(new.known, old.known), max(new.seen, old.seen), max(new.back, old.back)
		new.times = old.times
	}
	new.times++
	r.rows[fault] = &new
}

func (r *table) print() {
	if len(r.rows) == 0 {
		return
	}
	faults := slices.SortedFunc(maps.Keys(r.rows), func(a, b string) int { return r.rows[a].order - r.rows[b].order })
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nfault\thealth says\ttailscaled knows after\thealth later by\tcured: health later by\tpeers reach us\truns\t")
	for _, fault := range faults {
		v := r.rows[fault]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", fault, v.says, ms(v.known), ms(v.seen), ms(v.back), v.reach, v.times)
	}
	w.Flush()
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", max(d, 0).Milliseconds()) }
