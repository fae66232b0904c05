package supervisor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/actors/tailnet"
	"anthropic-oauth-proxy/messages"
)

// poisonedBus is a tailscaled whose notifications make the watcher's helper
// panic.
type poisonedBus struct{}

func (poisonedBus) Status(context.Context) (*ipnstate.Status, error) { return &ipnstate.Status{}, nil }
func (poisonedBus) Ping(context.Context, string) error               { return nil }
func (poisonedBus) Watch(context.Context, func(tailnet.Warnings)) error {
	return blowUp()
}

//go:noinline
func blowUp() error { panic("poison") }

// A helper's panic is told as a panic, with the stack of where it happened, and
// with that once however often it comes.
func TestAHelpersPanicIsToldAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		facts := messages.NewMailbox[messages.Event](100)
		watcher := tailnet.New(facts, poisonedBus{}, tailnet.Config{PollInterval: time.Second}, zerolog.Nop())
		p := perform(t, watcher.Serve)
		time.Sleep(time.Second) // long enough for a few lives
		synctest.Wait()
		p.cancel()
		<-p.ended
		lives := int(p.series("supervisor_restarts_total", "panic", "role"))
		if other := p.series("supervisor_restarts_total", "error", "role"); lives < 3 || other != 0 {
			t.Errorf("%d panics and %v errors are counted", lives, other)
		}
		lines := slices.DeleteFunc(strings.Split(p.log.String(), "\n"), func(l string) bool { return !strings.Contains(l, `"service_panic"`) })
		for i, line := range lines {
			if !strings.Contains(line, `"cause":"bus watcher: poison"`) || strings.Contains(line, "supervisor.blowUp(") != (i == 0) {
				t.Errorf("line %d: %s", i, line)
			}
		}
		if len(lines) != lives {
			t.Errorf("%d lines for %d panics", len(lines), lives)
		}
	})
}
