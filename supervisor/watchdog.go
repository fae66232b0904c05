package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"anthropic-oauth-proxy/messages"
)

const (
	// lookEvery is how often the watchdog looks.
	lookEvery = time.Second
	// silentLooks is how many looks in a row may find that the conductor has not
	// made a step. Looks are counted and not seconds, so that a process that was
	// frozen as a whole is not taken for one that hangs.
	silentLooks = 10
	// unlivable is the number of restarts in a minute at which the conductor
	// cannot live. A storm makes about ninety, with its pauses.
	unlivable = 60
)

// watchdog ends a process that cannot end itself in any better way. It stands
// outside the tree and needs nobody in it, neither a probe nor a signal.
type watchdog struct {
	state     func() messages.State
	conductor func() messages.ServiceAccount
	bark      func(reason string)
}

// watch looks until ctx ends, or until it has barked.
func (w watchdog) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	seen := w.state().TickedAt
	silent := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		silent++
		if at := w.state().TickedAt; !at.Equal(seen) {
			seen, silent = at, 0
		}
		if reason := w.verdict(silent); reason != "" {
			w.bark(reason)
			return
		}
	}
}

func (w watchdog) verdict(silent int) string {
	a := w.conductor()
	switch {
	case silent >= silentLooks:
		return fmt.Sprintf("the conductor has made no step for %v: %s", silentLooks*lookEvery, life(a))
	case a.LastMinute >= unlivable:
		return fmt.Sprintf("the conductor cannot live: %d restarts in the last minute: %s", a.LastMinute, life(a))
	}
	return ""
}

// life is a service's account in a few words for a person.
func life(a messages.ServiceAccount) string {
	c := a.LastCause()
	switch {
	case a.Up && c.At.IsZero():
		return fmt.Sprintf("it has been up since %s and hangs", a.Since.UTC().Format(time.RFC3339))
	case a.Up:
		return fmt.Sprintf("it hangs; it ended %d times before, last by %s: %s", a.Restarts, c.Kind, c.Message)
	default:
		return fmt.Sprintf("it is down; it ended %d times, last by %s: %s", a.Restarts, c.Kind, c.Message)
	}
}

// GiveUp ends the run of a service that cannot react any more: Run takes it down
// in order, without a drain, and returns code 1 with the reason. The reason and
// what every goroutine was doing are told at once, because taking down may hang
// as well. The first call counts. Any goroutine may call it.
func (s *System) GiveUp(reason string) {
	s.givenUp.Do(func() {
		dump := goroutines()
		s.end(errors.New(reason))
		s.lastWords(reason, dump)
	})
}

// dumpBytes bounds a dump. It has room for some thousand goroutines.
const dumpBytes = 4 << 20

// goroutines is what every goroutine is doing.
func goroutines() []byte {
	b := make([]byte, dumpBytes)
	return b[:runtime.Stack(b, true)]
}
