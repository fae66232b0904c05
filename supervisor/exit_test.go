package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/internal/testkit/tailscaled"
	"anthropic-oauth-proxy/messages"
)

func TestHowALifeEnds(t *testing.T) {
	taken := testkit.Occupied(t)
	for _, tc := range []struct {
		name    string
		set     setting
		live    func(*stage) // after the start
		code    int
		message []string
		within  time.Duration
	}{
		{
			name: "the proxy port is in use", set: setting{listen: taken},
			code: 1, message: []string{taken, "address already in use", "proxy.listen_addr"},
		},
		{
			name: "the tailnet never comes",
			set:  setting{socket: filepath.Join(t.TempDir(), "absent.sock"), tailnet: "connect_timeout_secs = 0.5"},
			code: 1, message: []string{"connect to the tailnet", "500ms", "socket_absent"},
		},
		{
			name: "the machine wants approval",
			set:  setting{socket: tailscaled.New(t, "NeedsMachineAuth").Socket, tailnet: "connect_timeout_secs = 600"},
			code: 1, message: []string{"needs_machine_auth", "approve"}, within: 5 * time.Second,
		},
		{
			name: "a signal while the tailnet is awaited",
			set:  setting{socket: filepath.Join(t.TempDir(), "absent.sock")},
			live: func(s *stage) { s.await(messages.ConnectingTailnet); s.shutdown("terminated") },
			code: 0, message: []string{"terminated", "connecting_tailnet"},
		},
		{
			name: "a drain with nothing to drain",
			live: func(s *stage) { s.await(messages.Running); s.shutdown("terminated") },
			code: 0, message: []string{"terminated", "every request finished"},
		},
		{
			name: "the context ends",
			live: func(s *stage) { s.await(messages.Running); s.cancel(errors.New("enough")) },
			code: 1, message: []string{"running", "without a drain", "enough"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			s := build(t, tc.set)
			s.run()
			if tc.live != nil {
				tc.live(s)
			}
			exit := s.ends()
			if exit.Code != tc.code {
				t.Errorf("exit code %d, want %d: %s", exit.Code, tc.code, exit.Message)
			}
			for _, part := range tc.message {
				if !strings.Contains(exit.Message, part) {
					t.Errorf("the message lacks %q: %s", part, exit.Message)
				}
			}
			if took := time.Since(began); tc.within > 0 && took > tc.within {
				t.Errorf("it took %v", took)
			}
			// The ports are free again: nothing of the service is left.
			ln, err := net.Listen("tcp", s.admin)
			if err != nil {
				t.Fatalf("the admin port after the end: %v", err)
			}
			ln.Close()
		})
	}
}

func TestAdminPortThatCannotBeBound(t *testing.T) {
	taken := testkit.Occupied(t)
	for addr, says := range map[string]string{
		taken:          "address already in use; another program holds it",
		"192.0.2.1:80": "cannot assign requested address; this machine has no such address", // RFC 5737: nobody's
	} {
		c := setting{}.load(t)
		c.Proxy.AdminAddr = addr
		_, err := Build(c, Options{Log: zerolog.Nop()})
		if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "proxy.admin_addr") {
			t.Errorf("Build says %v, want %q", err, says)
		}
	}
}

// A mailbox that takes the question proves nothing: whoever asks for the end is
// told when the state does not show it, however full the mailbox is.
func TestADeafServiceIsTold(t *testing.T) {
	s := build(t, setting{}) // and never run
	defer s.system.release()
	for n := range mailboxSize + 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Millisecond, ErrDeaf)
		if err := s.system.Shutdown(ctx, "terminated"); !errors.Is(err, ErrDeaf) {
			t.Errorf("question %d: Shutdown says %v", n+1, err)
		}
		if err := s.system.Interrupt(ctx, "interrupt"); !errors.Is(err, ErrDeaf) {
			t.Errorf("question %d: Interrupt says %v", n+1, err)
		}
		cancel()
	}
}

// asker asks for the end when the n-th line is logged: at every moment of a
// start that can be told from another.
type asker struct {
	lines  atomic.Int64
	n      int64
	system func() *System
}

func (a *asker) Run(*zerolog.Event, zerolog.Level, string) {
	if a.lines.Add(1) == a.n {
		_ = a.system().events.Send(context.Background(), messages.ShutdownRequested{Cause: "terminated"})
	}
}

func TestASignalAtAnyMoment(t *testing.T) {
	for n := range 5 { // a start is told in five lines
		t.Run(fmt.Sprint("after line ", n), func(t *testing.T) {
			var s *stage
			// The first line is Build's; there is nobody to ask before its end.
			a := &asker{n: int64(n + 1), system: func() *System { return s.system }}
			if n == 0 {
				a.n = -1
			}
			s = build(t, setting{hook: a})
			if n == 0 { // nobody can see it delivered yet
				if err := s.system.events.Send(t.Context(), messages.ShutdownRequested{Cause: "terminated"}); err != nil {
					t.Fatal(err)
				}
			}
			s.run()
			if exit := s.ends(); exit.Code != 0 || !strings.Contains(exit.Message, "terminated") {
				t.Errorf("ended with %+v", exit)
			}
		})
	}
}
