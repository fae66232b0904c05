package supervisor

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/messages"
)

// saboteur makes an actor fail on command, in the actor's own goroutine and
// without a line of product code: it hands it a context that is a trap.
type saboteur struct {
	suture.Service
	name string
	born chan struct{} // one sign per life, for whoever waits

	mu   sync.Mutex
	trap *trap
	how  string // the reason with which the current life is to end
}

// The ways in which a life may end.
const (
	byPanic  = string(messages.CausePanic)
	byError  = string(messages.CauseError)
	byReturn = string(messages.CauseReturned)
)

var reasons = []string{byPanic, byError, byReturn}

var errSabotage = errors.New("sabotage")

func newSaboteur(s suture.Service) *saboteur {
	return &saboteur{Service: s, name: s.(interface{ String() string }).String(), born: make(chan struct{}, 1024)}
}

func (s *saboteur) String() string { return s.name }

func (s *saboteur) Serve(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &trap{Context: inner, cancel: cancel, goroutine: goroutine()}
	s.mu.Lock()
	s.trap, s.how = t, ""
	s.mu.Unlock()
	s.born <- struct{}{}
	err := s.Service.Serve(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.how {
	case byError:
		return errSabotage
	case byReturn:
		return nil
	}
	return err
}

// fail ends the current life for one of the reasons.
func (s *saboteur) fail(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = how
	if how == byPanic {
		s.trap.armed.Store(true)
	}
	// The watcher would take the end of the context for a stop, in its own
	// derived ones. It looks at the deadline with each poll and is caught then.
	if how != byPanic || s.name != "tailnet" {
		s.trap.cancel()
	}
}

// failAndReturn ends the current life and waits for the next one.
func (s *saboteur) failAndReturn(how string) bool {
	for len(s.born) > 0 {
		<-s.born
	}
	s.fail(how)
	select {
	case <-s.born:
		return true
	case <-time.After(patience):
		return false
	}
}

// trap is a context that, once armed, panics in whoever asks it from the
// actor's own goroutine. The library's goroutines, whose panics nobody
// recovers, pass unharmed.
type trap struct {
	context.Context
	cancel    context.CancelFunc
	goroutine string
	armed     atomic.Bool
}

func (t *trap) Err() error {
	t.spring()
	return t.Context.Err()
}

func (t *trap) Deadline() (time.Time, bool) {
	t.spring()
	return t.Context.Deadline()
}

func (t *trap) spring() {
	if t.armed.Load() && goroutine() == t.goroutine {
		panic(errSabotage)
	}
}

// goroutine names the calling goroutine.
func goroutine() string {
	b := make([]byte, 64)
	b = b[:runtime.Stack(b, false)]
	return string(bytes.Fields(b)[1])
}
