package main

import (
	"io"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// Whoever reads stdout and stderr may have stopped: that must not keep a process
// that cannot run from ending, or nobody would start it again.
func TestNobodyReadsTheLastWords(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		code         int
	}{
		{"a configuration that is not valid", "[proxy]\ntimeout_secs = 0\n", exitUsage},
		{"a port in use", local("127.0.0.1:0", testkit.Occupied(t)), exitFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := file(t, tc.config)
			r, w := io.Pipe()
			defer r.Close()
			ended := make(chan int)
			go func() { ended <- run([]string{"--config", path}, none, w, w) }()
			select {
			case code := <-ended:
				if code != tc.code {
					t.Errorf("exit code %d, want %d", code, tc.code)
				}
			case <-time.After(testkit.Patience):
				t.Error("it waits for a reader")
				r.Close()
				<-ended
			}
		})
	}
}
