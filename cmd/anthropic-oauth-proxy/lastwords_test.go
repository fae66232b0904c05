package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/supervisor"
)

func TestLastWords(t *testing.T) {
	var errs testkit.Buffer
	l := lastWords{stderr: &errs}
	l.say("the conductor has made no step", []byte("goroutine 7 [select]:"))
	l.stop()
	if got, want := errs.String(), "goroutine 7 [select]:\nanthropic-oauth-proxy: the conductor has made no step\n"; got != want {
		t.Errorf("the last words are %q, want %q", got, want)
	}
	(&lastWords{}).stop() // nothing was said
}

// A process whose way down hangs, and whose stderr nobody reads, ends all the
// same.
func TestTheEndThatHangs(t *testing.T) {
	if os.Getenv("HANG") != "" {
		r, w, err := os.Pipe() // held open, and read by nobody
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		l := lastWords{stderr: w}
		l.say("stuck", make([]byte, 1<<20))
		select {}
	}
	if testing.Short() {
		t.Skip("takes the time of a way down")
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheEndThatHangs$")
	cmd.Env = append(os.Environ(), "HANG=1")
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v, want exit code %d", err, exitFailed)
	}
	if took := time.Since(began); took < supervisor.Takedown {
		t.Errorf("it ended after %v, before an orderly way down could", took)
	}
}

// A bad end is told with how it came to it; the last line says why and what
// helps.
func TestABadEndIsToldWithItsJournal(t *testing.T) {
	taken := testkit.Occupied(t)
	var out, errs testkit.Buffer
	if code := run([]string{"--config", file(t, local(taken, "127.0.0.1:0"))}, none, &out, &errs); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "anthropic-oauth-proxy: listen on "+taken) {
		t.Errorf("the last line is %q", last)
	}
	for _, kind := range []string{"config_loaded", "listener_failed"} {
		if !strings.Contains(errs.String(), `"kind":"`+kind+`"`) {
			t.Errorf("the journal does not tell of %s: %s", kind, errs.String())
		}
	}
}
