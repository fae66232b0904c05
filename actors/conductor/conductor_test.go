package conductor

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/lifecycle"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a conductor under a real supervisor, in virtual time.
type stage struct {
	t       *testing.T
	actor   *Actor
	mailbox *messages.Mailbox[messages.Event]
	desired *messages.Latest[messages.Desired]
	state   *messages.Latest[messages.State]
	edge    atomic.Pointer[messages.EdgeStatus]
	frozen  atomic.Int64 // nanoseconds that the next step takes
	metrics *prometheus.Registry
	log     testkit.Buffer
	panics  int
}

var limits = lifecycle.Limits{
	ConnectTimeout: 60 * time.Second,
	DrainTimeout:   5 * time.Second,
	StaleAfter:     6 * time.Second,
	DrainGrace:     3 * time.Second,
	Patience:       4 * time.Second,
	Steady:         3 * time.Second,
	LostIdle:       time.Minute,
	Lost:           5 * time.Minute,
}

// poison makes the machine of a stage panic.
var poison messages.Event = messages.DrainFinished{Cut: -1}

// play runs act inside a synctest bubble and takes the tree down after it.
func play(t *testing.T, act func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{
			t:       t,
			mailbox: messages.NewMailbox[messages.Event](8),
			desired: messages.NewLatest(messages.Desired{}),
			state:   messages.NewLatest(messages.State{}),
			metrics: prometheus.NewRegistry(),
		}
		s.edge.Store(&messages.EdgeStatus{})
		machine := lifecycle.New(time.Now(), limits)
		s.actor = New(Options{
			Mailbox: s.mailbox, Desired: s.desired, State: s.state, Machine: machine, Hostname: "proxy",
			Edge:    func() messages.EdgeStatus { return *s.edge.Load() },
			Journal: NewJournal(), Metrics: NewMetrics(s.metrics, s.mailbox), Log: zerolog.New(&s.log),
		})
		s.actor.step = func(m lifecycle.Machine, now time.Time, ev messages.Event) lifecycle.Machine {
			time.Sleep(time.Duration(s.frozen.Swap(0)))
			if ev == poison {
				panic("poison")
			}
			return m.Step(now, ev)
		}
		tree := suture.New("control", suture.Spec{EventHook: func(ev suture.Event) {
			if ev.Type() == suture.EventTypeServicePanic {
				s.panics++
			}
		}})
		tree.Add(s.actor)
		ctx, cancel := context.WithCancel(t.Context())
		ended := tree.ServeBackground(ctx)
		synctest.Wait()
		act(s)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the tree ended with %v", err)
		}
	})
}

func (s *stage) send(events ...messages.Event) {
	s.t.Helper()
	for _, ev := range events {
		if err := s.mailbox.Send(s.t.Context(), ev); err != nil {
			s.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// pass lets time pass without any fact.
func (s *stage) pass(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

func (s *stage) wantPhase(when string, want messages.Phase) {
	s.t.Helper()
	st := s.state.Get()
	if st.Phase != want {
		s.t.Fatalf("%s: %s, want %s", when, st.Phase, want)
	}
	if d := s.desired.Get(); d != st.Desired {
		s.t.Fatalf("%s: the cell wants %+v, the state %+v", when, d, st.Desired)
	}
}

// lines empties the log and returns its lines with this event, or all.
func (s *stage) lines(event string) []map[string]any {
	s.t.Helper()
	var found []map[string]any
	for line := range strings.Lines(s.log.Take()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			s.t.Fatalf("a log line is no JSON: %v: %s", err, line)
		}
		if event == "" || fields[fieldEvent] == event {
			found = append(found, fields)
		}
	}
	return found
}

func up() messages.TailnetObserved {
	return messages.TailnetObserved{Status: messages.TailnetStatus{
		Link: messages.LinkConnected, Backend: "Running", Hostname: "proxy", IP: "100.64.0.1", At: time.Now(),
	}}
}

func down(r messages.Reason) messages.TailnetObserved {
	return messages.TailnetObserved{Status: messages.TailnetStatus{
		Link: messages.LinkNotConnected, Reason: r, Detail: "so it is", At: time.Now(),
	}}
}

var (
	off      = messages.ConfigLoaded{TailnetDisabled: true}
	on       = messages.ConfigLoaded{}
	ready    = messages.ListenerReady{Addr: "127.0.0.1:8080"}
	sigterm  = messages.ShutdownRequested{Cause: "SIGTERM"}
	finished = messages.DrainFinished{}
)

func TestALife(t *testing.T) {
	play(t, func(s *stage) {
		s.wantPhase("before any fact", messages.Initializing)
		s.send(on)
		s.wantPhase("configuration loaded", messages.ConnectingTailnet)
		s.send(up())
		s.wantPhase("tailnet connected", messages.Starting)
		s.send(ready)
		s.wantPhase("listener ready", messages.Running)
		s.pass(5 * time.Second)
		s.wantPhase("5 s without a look", messages.Running)
		s.pass(2 * time.Second)
		s.wantPhase("7 s without a look", messages.Degraded)
		s.send(up())
		s.wantPhase("looked again", messages.Running)
		s.send(sigterm)
		s.wantPhase("asked to shut down", messages.Draining)
		s.send(finished)
		s.wantPhase("drained", messages.Stopped)
		s.send(on, up(), ready)
		s.pass(time.Minute)
		s.wantPhase("a minute after the end", messages.Stopped)
		if age := time.Since(s.state.Get().TickedAt); age > tickEvery {
			t.Errorf("a stopped conductor that still serves ticked %v ago", age)
		}
	})
}

func TestTicksDriveDeadlines(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []messages.Event
		before messages.Phase
		after  time.Duration // of silence
		code   int
	}{
		{"a tailnet that never comes", []messages.Event{on}, messages.ConnectingTailnet, time.Minute, 1},
		{"a drain that never reports", []messages.Event{off, ready, sigterm}, messages.Draining, 8 * time.Second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.send(c.events...)
				s.pass(c.after - time.Millisecond)
				s.wantPhase("just before the deadline", c.before)
				s.pass(tickEvery)
				s.wantPhase("a tick after the deadline", messages.Stopped)
				if got := s.state.Get().Exit.Code; got != c.code {
					t.Errorf("exit %d, want %d", got, c.code)
				}
			})
		})
	}
}

func TestDesiredIsStoredOnChangeOnlyAndStateAtEveryStep(t *testing.T) {
	play(t, func(s *stage) {
		s.send(off, ready)
		_, desired := s.desired.Load()
		s.pass(time.Minute)
		s.send(ready, on)
		select {
		case <-desired:
			t.Error("Desired was stored again without a change")
		default:
		}
		if age := time.Since(s.state.Get().TickedAt); age > tickEvery {
			t.Errorf("State is %v old", age)
		}
		s.send(sigterm)
		select {
		case <-desired:
		default:
			t.Error("the wish to drain woke nobody")
		}
	})
}

// A fact that the machine cannot bear costs that fact, and nothing else.
func TestPoisonIsLostAlone(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		before := s.state.Get()
		s.lines("")
		s.send(poison, up())
		if s.panics != 1 {
			t.Fatalf("%d panics, want 1", s.panics)
		}
		after := s.state.Get()
		if after.Phase != before.Phase || after.Since != before.Since || after.Desired != before.Desired {
			t.Errorf("after the restart %+v, before %+v", after, before)
		}
		if extra := s.lines(""); len(extra) != 0 {
			t.Errorf("a restart that changed nothing logged %v", extra)
		}
		s.send(poison, down(messages.ReasonTimeout), poison, sigterm)
		s.wantPhase("two more poisoned facts between good ones", messages.Draining)
	})
}

func TestServeReturnsTheContextsError(t *testing.T) {
	mailbox := messages.NewMailbox[messages.Event](1)
	a := New(Options{
		Mailbox: mailbox, Desired: messages.NewLatest(messages.Desired{}), State: messages.NewLatest(messages.State{}),
		Machine: lifecycle.New(time.Now(), lifecycle.Limits{}), Edge: func() messages.EdgeStatus { return messages.EdgeStatus{} },
		Journal: NewJournal(), Metrics: NewMetrics(prometheus.NewRegistry(), mailbox), Log: zerolog.Nop(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Serve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returned %v", err)
	}
	var named suture.Service = a
	if got := named.(interface{ String() string }).String(); got != "conductor" {
		t.Errorf("the service is called %q", got)
	}
}
