package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestRelay(t *testing.T) {
	taken := func(context.Context, string) error { return nil }
	refused := func(context.Context, string) error { return errors.New("no") }
	stuck := func(ctx context.Context, _ string) error { <-ctx.Done(); return context.Cause(ctx) }
	for _, tc := range []struct {
		name    string
		signals []os.Signal
		request func(context.Context, string) error
		heard   []string
		end     string // why the run was ended; empty: it was not
		within  time.Duration
	}{
		{"none", nil, taken, nil, "", 0},
		{"one drains", []os.Signal{syscall.SIGTERM}, taken, []string{"terminated"}, "", 0},
		{"two stop the drain", []os.Signal{syscall.SIGTERM, syscall.SIGINT}, taken, []string{"terminated", "interrupt"}, "", 0},
		{"three do not ask", []os.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGINT}, taken, []string{"terminated", "terminated"}, "interrupt: the service does not react", 0},
		{"a refusal", []os.Signal{syscall.SIGTERM}, refused, []string{"terminated"}, "terminated: the service does not react", 0},
		{"a full mailbox", []os.Signal{syscall.SIGTERM}, stuck, []string{"terminated"}, "terminated: the service does not react", deliveryPatience},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancelCause(t.Context())
				signals := make(chan os.Signal, 4)
				for _, s := range tc.signals {
					signals <- s
				}
				var heard []string
				began, done := time.Now(), make(chan struct{})
				go func() {
					defer close(done)
					relay(ctx, signals, func(ctx context.Context, cause string) error {
						heard = append(heard, cause)
						return tc.request(ctx, cause)
					}, end)
				}()
				synctest.Wait()
				if tc.end == "" {
					if ctx.Err() != nil {
						t.Errorf("the run was ended: %v", context.Cause(ctx))
					}
					end(nil) // the service has ended by itself
				}
				<-done
				if why := context.Cause(ctx).Error(); tc.end != "" && !strings.HasPrefix(why, tc.end) {
					t.Errorf("ended because %q, want %q", why, tc.end)
				}
				if took := time.Since(began); took != tc.within {
					t.Errorf("it took %v, want %v", took, tc.within)
				}
				if !slices.Equal(heard, tc.heard) {
					t.Errorf("requested %q, want %q", heard, tc.heard)
				}
			})
		})
	}
}
