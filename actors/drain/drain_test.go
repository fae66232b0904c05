package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is the requests in flight behind a closed gate, as a test plays them.
type house struct {
	mu     sync.Mutex
	active int
	cut    int
	idle   chan struct{}
}

func newHouse(active int) *house {
	h := &house{active: active, idle: make(chan struct{})}
	h.settle()
	return h
}

// Cut is how many the door has ended.
func (h *house) Cut() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut
}

// end is what the door does: all are ended, and n of them leave.
func (h *house) end(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut += h.active
	h.active -= n
	h.settle()
}

func (h *house) leave(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active -= n
	h.settle()
}

func (h *house) settle() {
	if h.active == 0 {
		close(h.idle)
	}
}

func (h *house) Idle() <-chan struct{} { return h.idle }

func (h *house) Load() (int, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active, 90 * time.Second
}

// stage is one play: an actor, what it is told and what it says.
type stage struct {
	t     *testing.T
	house *house
	want  *messages.Latest[messages.Desired]
	facts *messages.Mailbox[messages.Event]
	log   bytes.Buffer
	actor *Actor
	began time.Time

	cancel context.CancelFunc
	done   chan error
}

func play(t *testing.T, active int, run func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{
			t: t, house: newHouse(active),
			want:  messages.NewLatest(messages.Desired{Listen: true, Ready: true}),
			facts: messages.NewMailbox[messages.Event](4), began: time.Now(),
		}
		s.actor = New(s.facts, s.want, s.house, zerolog.New(&s.log))
		s.start()
		run(s)
		s.stop()
	})
}

func (s *stage) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.actor.Serve(ctx) }()
	synctest.Wait()
}

// stop ends the actor as its supervisor does.
func (s *stage) stop() {
	s.t.Helper()
	s.cancel()
	if err := <-s.done; !errors.Is(err, context.Canceled) {
		s.t.Errorf("Serve returned %v, want the context's error", err)
	}
}

func (s *stage) drain(within time.Duration) {
	s.want.Store(messages.Desired{Listen: true, Drain: true, DrainBy: time.Now().Add(within)})
	synctest.Wait()
}

func (s *stage) pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

// facts so far, taken out of the mailbox.
func (s *stage) reported() []messages.Event {
	var all []messages.Event
	for {
		select {
		case ev := <-s.facts.Messages():
			all = append(all, ev)
		default:
			return all
		}
	}
}

func (s *stage) expect(when string, facts ...messages.Event) {
	s.t.Helper()
	if got := s.reported(); !slices.Equal(got, facts) {
		s.t.Errorf("%s: reported %v, want %v", when, got, facts)
	}
}

func (s *stage) stages() []string {
	var all []string
	for line := range bytes.Lines(s.log.Bytes()) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			s.t.Fatalf("log line %q: %v", line, err)
		}
		if l["event"] != "drain" || l["streams"] == nil || l["oldest_ms"] == nil {
			s.t.Errorf("a line lacks the number or the age of the streams: %s", line)
		}
		all = append(all, l["stage"].(string))
	}
	return all
}

func (s *stage) expectStages(want ...string) {
	s.t.Helper()
	if got := s.stages(); !slices.Equal(got, want) {
		s.t.Errorf("logged the stages %q, want %q", got, want)
	}
}

func TestNothingHappensWithoutAWish(t *testing.T) {
	play(t, 0, func(s *stage) {
		s.pass(time.Hour)
		s.want.Store(messages.Desired{Listen: true})
		s.pass(time.Hour)
		s.expect("after two hours")
		s.expectStages()
	})
}

func TestIdleAtOnce(t *testing.T) {
	for _, within := range []time.Duration{0, time.Minute} {
		t.Run(within.String(), func(t *testing.T) {
			play(t, 0, func(s *stage) {
				s.drain(within)
				s.expect("in the same moment", messages.DrainFinished{})
				s.expectStages("started", "finished")
			})
		})
	}
}

func TestStreamsFinishBeforeTheDeadline(t *testing.T) {
	play(t, 3, func(s *stage) {
		s.drain(time.Minute)
		s.pass(25 * time.Second)
		s.house.leave(2)
		s.pass(time.Second)
		s.expect("with one left")
		s.house.leave(1)
		synctest.Wait()
		s.expect("with none left", messages.DrainFinished{})
		s.expectStages("started", "waiting", "waiting", "finished")
	})
}

func TestWhatTheDoorHasEndedIsReported(t *testing.T) {
	play(t, 3, func(s *stage) {
		s.drain(5 * time.Second)
		s.house.leave(1)
		s.pass(5 * time.Second)
		s.expect("at the deadline")
		s.house.end(2)
		synctest.Wait()
		s.expect("when they have left", messages.DrainFinished{Cut: 2})
		s.expectStages("started", "finished")
	})
}

func TestStuckStreamsDoNotHoldTheDrainUp(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.drain(time.Second)
		s.pass(time.Second)
		s.house.end(0)
		s.pass(FlushTime - time.Nanosecond)
		s.expect("while they may still leave")
		s.pass(time.Nanosecond)
		s.expect("after that", messages.DrainFinished{Cut: 2})
		s.expectStages("started", "stuck", "finished")
	})
}

// A restart reads the wish again: the deadline stays, nothing is undone.
func TestRestartInTheMiddle(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.drain(10 * time.Second)
		s.pass(4 * time.Second)
		s.stop()
		s.house.leave(1)
		s.start()
		s.expect("after the restart")
		s.pass(6 * time.Second)
		s.house.end(1)
		synctest.Wait()
		s.expect("at the deadline", messages.DrainFinished{Cut: 1})
	})
}

// How many were cut is not forgotten with a life.
func TestRestartAfterTheDeadline(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.drain(time.Second)
		s.pass(time.Second)
		s.house.end(1)
		s.stop()
		s.start()
		s.house.leave(1)
		synctest.Wait()
		s.expect("they left", messages.DrainFinished{Cut: 2})
	})
}

// What was reported may be reported again; the lifecycle does not mind.
func TestRestartAfterTheReport(t *testing.T) {
	play(t, 1, func(s *stage) {
		s.drain(time.Minute)
		s.house.leave(1)
		synctest.Wait()
		s.expect("the first time", messages.DrainFinished{})
		s.stop()
		s.start()
		s.expect("after the restart", messages.DrainFinished{})
	})
}

// A full mailbox delays the report and does not lose it.
func TestReportWaitsForRoom(t *testing.T) {
	play(t, 0, func(s *stage) {
		for range 4 {
			if err := s.facts.Send(s.t.Context(), messages.Ticked{}); err != nil {
				s.t.Fatal(err)
			}
		}
		s.drain(time.Minute)
		s.pass(time.Minute)
		first := <-s.facts.Messages()
		synctest.Wait()
		rest := s.reported()
		if first != (messages.Ticked{}) || len(rest) != 4 || rest[3] != (messages.DrainFinished{}) {
			s.t.Errorf("the mailbox held %v and then %v", first, rest)
		}
	})
}
