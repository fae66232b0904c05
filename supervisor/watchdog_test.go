package supervisor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/messages"
)

// kennel is a watchdog in virtual time.
type kennel struct {
	tickedAt atomic.Pointer[time.Time]
	account  atomic.Pointer[messages.ServiceAccount]
	barks    []string
	watch    func(ctx context.Context)
}

func newKennel() *kennel {
	k := &kennel{}
	k.step()
	k.account.Store(&messages.ServiceAccount{Service: "conductor", Up: true, Since: time.Now()})
	w := watchdog{
		state:     func() messages.State { return messages.State{TickedAt: *k.tickedAt.Load()} },
		conductor: func() messages.ServiceAccount { return *k.account.Load() },
		bark:      func(reason string) { k.barks = append(k.barks, reason) },
	}
	k.watch = w.watch
	return k
}

func (k *kennel) step() {
	now := time.Now()
	k.tickedAt.Store(&now)
}

func TestTheWatchdog(t *testing.T) {
	dead := messages.ServiceAccount{Service: "conductor", Restarts: 7, Causes: []messages.Cause{{Kind: messages.CausePanic, Message: "boom"}}}
	storm := messages.ServiceAccount{Service: "conductor", Restarts: 90, LastMinute: unlivable, Causes: dead.Causes}
	for _, tc := range []struct {
		name string
		live func(k *kennel)
		says []string // of its one bark; none: it is silent
	}{
		{"steps", func(k *kennel) {
			for range 3600 {
				time.Sleep(time.Second)
				k.step()
			}
		}, nil},
		{"a pause", func(k *kennel) {
			for range 10 {
				time.Sleep(silentLooks*lookEvery - time.Millisecond)
				k.step()
			}
		}, nil},
		{"a step that hangs", func(*kennel) { time.Sleep(silentLooks*lookEvery + time.Millisecond) }, []string{"no step for 10s", "up since", "hangs"}},
		{"a dead conductor", func(k *kennel) {
			k.account.Store(&dead)
			time.Sleep(silentLooks*lookEvery + time.Millisecond)
		}, []string{"no step for 10s", "it is down", "7 times", "panic: boom"}},
		{"a conductor that steps once in each life", func(k *kennel) {
			k.account.Store(&storm)
			time.Sleep(lookEvery + time.Millisecond)
		}, []string{"cannot live", "60 restarts", "panic: boom"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKennel()
				ctx, cancel := context.WithCancel(t.Context())
				var watching sync.WaitGroup
				watching.Go(func() { k.watch(ctx) })
				tc.live(k)
				cancel()
				watching.Wait()
				if want := min(1, len(tc.says)); len(k.barks) != want {
					t.Fatalf("it barked %q", k.barks)
				}
				for _, part := range tc.says {
					if !strings.Contains(k.barks[0], part) {
						t.Errorf("the bark %q does not say %q", k.barks[0], part)
					}
				}
			})
		})
	}
}

// will is what LastWords was told.
type will struct {
	mu     sync.Mutex
	reason string
	dump   string
	calls  int
}

func (w *will) say(reason string, goroutines []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reason, w.dump = reason, string(goroutines)
	w.calls++
}

// instead runs live in place of the service of the name.
func instead(name string, live func(ctx context.Context) error) func(suture.Service) suture.Service {
	return func(s suture.Service) suture.Service {
		if s.(interface{ String() string }).String() == name {
			return impostor{name, live}
		}
		return s
	}
}

type impostor struct {
	name string
	live func(ctx context.Context) error
}

func (i impostor) String() string                  { return i.name }
func (i impostor) Serve(ctx context.Context) error { return i.live(ctx) }

// One signal to a conductor that is dead, crash-looping or deaf is not
// swallowed: the process ends, and says what every goroutine was doing.
func TestASignalToADeadConductor(t *testing.T) {
	deaf := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, live := range map[string]func(ctx context.Context) error{
		"deaf":          deaf,
		"crash-looping": func(context.Context) error { panic("no luck") },
		"failing":       func(context.Context) error { return errors.New("no luck") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &will{}
			s := build(t, setting{replace: instead("conductor", live), lastWords: w.say})
			s.run()
			began := time.Now()
			err := s.system.Shutdown(t.Context(), "terminated")
			if took := time.Since(began); !errors.Is(err, ErrDeaf) || took < DeliveryPatience {
				t.Fatalf("after %v Shutdown says %v", took, err)
			}
			s.system.GiveUp("terminated: " + err.Error())
			s.system.GiveUp("twice")
			exit := s.ends()
			if exit.Code != 1 || !strings.Contains(exit.Message, "terminated: the service does not react") {
				t.Errorf("ended with %+v", exit)
			}
			if w.calls != 1 || !strings.Contains(w.reason, "terminated") || !strings.Contains(w.dump, "goroutine ") || !strings.Contains(w.dump, "TestASignalToADeadConductor") {
				t.Errorf("%d last words: %q with a dump of %d bytes", w.calls, w.reason, len(w.dump))
			}
		})
	}
}

// Nobody asks, nobody probes: a process whose conductor hangs ends itself.
func TestAStuckConductorEndsTheProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the watchdog's ten seconds")
	}
	release := make(chan struct{})
	defer close(release)
	w := &will{}
	s := build(t, setting{
		lastWords: w.say,
		replace:   instead("conductor", func(context.Context) error { <-release; return nil }), // not even the end ends it
	})
	s.run()
	exit := s.ends()
	if exit.Code != 1 || !strings.Contains(exit.Message, "the conductor has made no step for 10s") {
		t.Errorf("ended with %+v", exit)
	}
	if w.calls != 1 || !strings.Contains(w.dump, "TestAStuckConductorEndsTheProcess.func") {
		t.Errorf("%d last words, and the dump does not show where it hangs", w.calls)
	}
}
