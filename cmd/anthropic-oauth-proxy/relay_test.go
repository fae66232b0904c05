package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
)

// service is what a relay asks, as a test plays it.
type service struct {
	answer  func(ctx context.Context) error
	asked   []string
	givenUp []string
}

func (s *service) Shutdown(ctx context.Context, cause string) error {
	s.asked = append(s.asked, "shutdown: "+cause)
	return s.answer(ctx)
}

func (s *service) Interrupt(ctx context.Context, cause string) error {
	s.asked = append(s.asked, "interrupt: "+cause)
	return s.answer(ctx)
}

func (s *service) GiveUp(reason string) { s.givenUp = append(s.givenUp, reason) }

func TestRelay(t *testing.T) {
	shown := func(context.Context) error { return nil }
	deaf := func(context.Context) error { return errors.New("the service does not react") }
	waits := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	for _, tc := range []struct {
		name    string
		signals []os.Signal
		answer  func(context.Context) error
		asked   []string
		givenUp []string
		ignored int // lines that tell of it
	}{
		{"none", nil, shown, nil, nil, 0},
		{"SIGTERM drains", []os.Signal{syscall.SIGTERM}, shown, []string{"shutdown: terminated"}, nil, 0},
		{"SIGINT interrupts", []os.Signal{syscall.SIGINT}, shown, []string{"interrupt: interrupt"}, nil, 0},
		{"many are each asked for", []os.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGINT, syscall.SIGTERM}, shown,
			[]string{"shutdown: terminated", "shutdown: terminated", "interrupt: interrupt", "shutdown: terminated"}, nil, 0},
		{"others are survived, and told of once", []os.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTERM}, shown,
			[]string{"shutdown: terminated"}, nil, 2},
		{"a deaf service is given up", []os.Signal{syscall.SIGTERM}, deaf, []string{"shutdown: terminated"}, []string{"terminated: the service does not react"}, 0},
		{"a run that ends is not", []os.Signal{syscall.SIGINT}, waits, []string{"interrupt: interrupt"}, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancel(t.Context())
				signals := make(chan os.Signal, 8)
				for _, s := range tc.signals {
					signals <- s
				}
				var log bytes.Buffer
				s := &service{answer: tc.answer}
				done := make(chan struct{})
				go func() {
					defer close(done)
					newRelay(s, zerolog.New(&log)).run(ctx, signals)
				}()
				synctest.Wait()
				end()
				<-done
				if !slices.Equal(s.asked, tc.asked) || !slices.Equal(s.givenUp, tc.givenUp) {
					t.Errorf("asked %q and gave up %q, want %q and %q", s.asked, s.givenUp, tc.asked, tc.givenUp)
				}
				if n := strings.Count(log.String(), `"event":"signal_ignored"`); n != tc.ignored {
					t.Errorf("%d lines about ignored signals, want %d: %s", n, tc.ignored, &log)
				}
			})
		})
	}
}
