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

// house is the requests in flight, as a test plays them.
type house struct {
	mu     sync.Mutex
	active int
	closed int // how often Close was called
	ended  int // how often End was called
	stuck  bool
	idle   chan struct{}
}

func newHouse(active int) *house { return &house{active: active, idle: make(chan struct{})} }

func (h *house) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed++
	h.settle()
}

// End makes everybody leave, unless they are stuck.
func (h *house) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended++
	if !h.stuck {
		h.active = 0
	}
	h.settle()
}

func (h *house) Leave(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active -= n
	h.settle()
}

func (h *house) settle() {
	if h.closed == 0 || h.active > 0 {
		return
	}
	select {
	case <-h.idle:
	default:
		close(h.idle)
	}
}

func (h *house) Idle() <-chan struct{} { return h.idle }

func (h *house) Load() (int, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active, 90 * time.Second
}

func (h *house) counts() (closed, ended int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed, h.ended
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

func (s *stage) expect(when string, closed, ended int, facts ...messages.Event) {
	s.t.Helper()
	if c, e := s.house.counts(); c != closed || e != ended {
		s.t.Errorf("%s: the gate was closed %d times and ended %d times, want %d and %d", when, c, e, closed, ended)
	}
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
		if l["event"] != "drain" || l["streams"] == nil || l["oldest_s"] == nil {
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
	play(t, 3, func(s *stage) {
		s.pass(time.Hour)
		s.want.Store(messages.Desired{Listen: true})
		s.pass(time.Hour)
		s.expect("after two hours", 0, 0)
		s.expectStages()
	})
}

func TestIdleAtOnce(t *testing.T) {
	for _, within := range []time.Duration{0, time.Minute} {
		t.Run(within.String(), func(t *testing.T) {
			play(t, 0, func(s *stage) {
				s.drain(within)
				s.expect("in the same moment", 1, 0, messages.DrainFinished{})
				s.expectStages("started", "finished")
			})
		})
	}
}

func TestStreamsFinishBeforeTheDeadline(t *testing.T) {
	play(t, 3, func(s *stage) {
		s.drain(time.Minute)
		s.pass(25 * time.Second)
		s.house.Leave(2)
		s.pass(time.Second)
		s.expect("with one left", 1, 0)
		s.house.Leave(1)
		synctest.Wait()
		s.expect("with none left", 1, 0, messages.DrainFinished{})
		s.expectStages("started", "waiting", "waiting", "finished")
	})
}

func TestTheDeadlineEndsWhatIsLeft(t *testing.T) {
	play(t, 3, func(s *stage) {
		s.drain(5 * time.Second)
		s.house.Leave(1)
		s.pass(5*time.Second - time.Nanosecond)
		s.expect("a moment before the deadline", 1, 0)
		s.pass(time.Nanosecond)
		s.expect("at the deadline", 1, 1, messages.DrainFinished{Cut: 2})
		s.expectStages("started", "deadline", "finished")
	})
}

func TestNoTimeAtAll(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.drain(0)
		s.expect("in the same moment", 1, 1, messages.DrainFinished{Cut: 2})
	})
}

func TestStuckStreamsDoNotHoldTheDrainUp(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.house.stuck = true
		s.drain(time.Second)
		s.pass(time.Second + FlushTime - time.Nanosecond)
		s.expect("while they may still say goodbye", 1, 1)
		s.pass(time.Nanosecond)
		s.expect("after that", 1, 1, messages.DrainFinished{Cut: 2})
		s.expectStages("started", "deadline", "stuck", "finished")
	})
}

// A restart reads the wish again: the deadline stays, nothing is undone.
func TestRestartInTheMiddle(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.drain(10 * time.Second)
		s.pass(4 * time.Second)
		s.stop()
		s.house.Leave(1)
		s.start()
		s.expect("after the restart", 2, 0)
		s.pass(6*time.Second - time.Nanosecond)
		s.expect("a moment before the deadline", 2, 0)
		s.pass(time.Nanosecond)
		s.expect("at the deadline", 2, 1, messages.DrainFinished{Cut: 1})
	})
}

func TestRestartAfterTheDeadline(t *testing.T) {
	play(t, 2, func(s *stage) {
		s.house.stuck = true
		s.drain(time.Second)
		s.pass(2 * time.Second)
		s.expect("streams were ended, and stay", 1, 1)
		s.stop()
		s.start()
		s.expect("after the restart", 2, 2)
		s.house.Leave(2)
		synctest.Wait()
		s.expect("they left", 2, 2, messages.DrainFinished{Cut: 2})
	})
}

// What was reported may be reported again; the lifecycle does not mind.
func TestRestartAfterTheReport(t *testing.T) {
	play(t, 1, func(s *stage) {
		s.drain(time.Minute)
		s.house.Leave(1)
		synctest.Wait()
		s.expect("the first time", 1, 0, messages.DrainFinished{})
		s.stop()
		s.start()
		s.expect("after the restart", 2, 0, messages.DrainFinished{})
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
