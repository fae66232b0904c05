package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/messages"
)

// manager listens as systemd does and returns what it is told, line by line.
func manager(t *testing.T) func() string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return func() string {
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestTheServiceManagerIsTold(t *testing.T) {
	for _, c := range []struct {
		name   string
		wishes []messages.Desired
	}{
		{"ready, then draining", []messages.Desired{{Ready: true}, {Drain: true}}},
		{"ready, then ended at once", []messages.Desired{{Ready: true}, {Stop: true}}},
		{"ended before it was ready", []messages.Desired{{Stop: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := manager(t)
			cell := messages.NewLatest(messages.Desired{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				notify(t.Context(), zerolog.Nop(), func(ctx context.Context, holds func(messages.Desired) bool) error {
					_, err := cell.Await(ctx, holds)
					return err
				})
			}()
			cell.Store(c.wishes[0])
			if got := told(); got != "READY=1" {
				t.Errorf("first told %q", got)
			}
			cell.Store(c.wishes[len(c.wishes)-1])
			if got := told(); got != "STOPPING=1" {
				t.Errorf("then told %q", got)
			}
			<-done
		})
	}
}

func TestNobodyNeedsToBeTold(t *testing.T) {
	always := func(context.Context, func(messages.Desired) bool) error { return nil }
	for name, c := range map[string]struct {
		socket string
		warned int
	}{"nobody waits": {"", 0}, "who waited has gone": {filepath.Join(t.TempDir(), "gone"), 2}} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		var log bytes.Buffer
		notify(t.Context(), zerolog.New(&log), always)
		if got := strings.Count(log.String(), `"event":"notify"`); got != c.warned {
			t.Errorf("%s: %d warnings, want %d: %s", name, got, c.warned, log.String())
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	cell := messages.NewLatest(messages.Desired{})
	notify(ended, zerolog.Nop(), func(ctx context.Context, holds func(messages.Desired) bool) error {
		_, err := cell.Await(ctx, holds)
		return err
	})
}
