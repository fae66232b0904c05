package tailnet

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/messages"
)

// fakeSource is a tailscaled that a test moves by hand.
type fakeSource struct {
	mu     sync.Mutex
	answer func(ctx context.Context) (*ipnstate.Status, error)
	polls  []time.Time
	bus    chan Warnings // a notification; closing it breaks the stream
	ping   func(context.Context) error
	pings  atomic.Int32
}

func newFake() *fakeSource {
	f := &fakeSource{bus: make(chan Warnings)}
	f.set(running(), nil)
	return f
}

func (f *fakeSource) set(st *ipnstate.Status, err error) {
	f.setFunc(func(context.Context) (*ipnstate.Status, error) { return st, err })
}

func (f *fakeSource) setFunc(fn func(ctx context.Context) (*ipnstate.Status, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = fn
}

func (f *fakeSource) Status(ctx context.Context) (*ipnstate.Status, error) {
	f.mu.Lock()
	answer := f.answer
	f.polls = append(f.polls, time.Now())
	f.mu.Unlock()
	return answer(ctx)
}

func (f *fakeSource) Watch(ctx context.Context, wake func(Warnings)) error {
	f.mu.Lock()
	bus := f.bus
	f.mu.Unlock()
	if bus == nil {
		return syscall.ECONNREFUSED
	}
	wake(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w, ok := <-bus:
			if !ok {
				return errors.New("read bus: EOF")
			}
			wake(w)
		}
	}
}

func (f *fakeSource) Ping(ctx context.Context, _ string) error {
	f.pings.Add(1)
	f.mu.Lock()
	ping := f.ping
	f.mu.Unlock()
	if ping == nil {
		return nil
	}
	return ping(ctx)
}

func (f *fakeSource) setPing(err error) {
	f.setPingFunc(func(context.Context) error { return err })
}

func (f *fakeSource) setPingFunc(ping func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ping = ping
}

// breakBus ends the stream, and refuses a new one until openBus.
func (f *fakeSource) breakBus() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.bus)
	f.bus = nil
}

func (f *fakeSource) openBus() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bus = make(chan Warnings)
}

func (f *fakeSource) takePolls() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	polls := f.polls
	f.polls = nil
	return polls
}

// facts keeps the newest observation and counts them.
type facts struct {
	mu   sync.Mutex
	last messages.TailnetStatus
	n    int
}

func (f *facts) Send(ctx context.Context, ev messages.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = ev.(messages.TailnetObserved).Status
	f.n++
	return context.Cause(ctx)
}

func (f *facts) get() (messages.TailnetStatus, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.n
}

func (f *facts) want(t *testing.T, phase string, link messages.Link, reason messages.Reason, impaired ...messages.Impairment) {
	t.Helper()
	synctest.Wait()
	got, _ := f.get()
	ok := got.Link == link && got.Reason == reason && len(got.Impaired) == len(impaired)
	for i := range impaired {
		ok = ok && got.Impaired[i] == impaired[i]
	}
	if !ok {
		t.Fatalf("%s: got %q %q %q, want %q %q %q", phase, got.Link, got.Reason, got.Impaired, link, reason, impaired)
	}
}

// watch runs an actor in a bubble and hands its parts to phases.
func watch(t *testing.T, cfg Config, phases func(src *fakeSource, got *facts, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src, got, log := newFake(), &facts{}, &bytes.Buffer{}
		if cfg.PollInterval == 0 {
			cfg.PollInterval = 2 * time.Second
		}
		a := New(got, src, cfg, zerolog.New(log))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Serve(ctx) }()
		synctest.Wait()
		phases(src, got, log)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve returned %v, want its context's end", err)
		}
	})
}
