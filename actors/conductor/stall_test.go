package conductor

import (
	"testing"
	"testing/synctest"
	"time"

	"anthropic-oauth-proxy/messages"
)

// series reads one value of the conductor's metrics.
func (s *stage) series(name, label string) float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	s.t.Fatalf("no series %s{%s}", name, label)
	return 0
}

// freeze makes the next step of the machine take this long, as a process that is
// stopped does.
func (s *stage) freeze(d time.Duration) { s.frozen.Store(int64(d)) }

// A process that stood still has its own line and metric, and nobody else is
// doubted: not by what was not seen, and not by a look that timed out meanwhile.
func TestAStallIsOurOwn(t *testing.T) {
	for _, frozen := range []time.Duration{2 * time.Second, 9 * time.Second, 10 * time.Minute} {
		play(t, func(s *stage) {
			s.send(on, up(), ready)
			s.lines("")
			s.freeze(frozen)
			s.pass(frozen + tickEvery)
			s.send(down(messages.ReasonTimeout)) // the look that was out
			s.wantPhase("after the stall", messages.Running)
			s.send(up())
			s.pass(3 * time.Second)
			s.wantPhase("3 s later", messages.Running)
			lines := s.lines("")
			if len(lines) != 1 || lines[0][fieldEvent] != eventStalled || lines[0]["level"] != "warn" {
				t.Errorf("%v: logged %v, want one line about the stall", frozen, lines)
			}
			if ms := lines[0][fieldStalledMS].(float64); ms < float64((frozen-tickEvery).Milliseconds()) || ms > float64(frozen.Milliseconds()) {
				t.Errorf("%v: the line tells of %v ms", frozen, ms)
			}
			if n := s.series("process_stalls_total", ""); n != 1 {
				t.Errorf("%v: %v stalls are counted", frozen, n)
			}
			if st := s.state.Get(); st.StalledFor < frozen-tickEvery || st.StalledAt.IsZero() {
				t.Errorf("%v: the state tells of %v", frozen, st.StalledFor)
			}
		})
	}
}

func TestALittleLateIsNoStall(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		s.lines("")
		s.freeze(stallAfter)
		s.pass(2 * time.Second)
		if n, lines := s.series("process_stalls_total", ""), s.lines(""); n != 0 || len(lines) != 0 {
			t.Errorf("%v stalls are counted, logged %v", n, lines)
		}
	})
}

// A conductor that was dead for longer than anything is believed has not seen
// what waits in its mailbox: it doubts nobody for that, and it is no stall of the
// process.
func TestADeadConductorDoubtsNobody(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		s.lines("")
		for range 6 { // one too many: a pause of more than a second
			s.send(poison)
		}
		s.pass(30 * time.Second)
		s.send(up())
		s.pass(time.Second)
		s.wantPhase("alive again", messages.Running)
		if n := s.series("process_stalls_total", ""); n != 0 {
			t.Errorf("%v stalls of the process are counted", n)
		}
	})
}

// A change of the accounts is a fact, a repetition is none.
func TestTheAccountsAreFacts(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		s.lines("")
		s.edge.Store(&messages.EdgeStatus{Trouble: messages.TroubleListenerFailing, Detail: "listener: panic: boom", Idle: true})
		for range 4 {
			s.pass(time.Second)
			s.send(up())
		}
		s.wantPhase("with a trouble", messages.Degraded)
		if n := s.series("conductor_facts_total", string(messages.KindEdgeObserved)); n != 1 {
			t.Errorf("%v facts about the edge, want one", n)
		}
		lines := s.lines(eventEdge)
		if len(lines) != 1 || lines[0]["level"] != "error" || lines[0][fieldTrouble] != string(messages.TroubleListenerFailing) ||
			lines[0][fieldDetail] != "listener: panic: boom" || lines[0][fieldRemedy] != messages.TroubleListenerFailing.Remedy() {
			t.Errorf("logged %v", lines)
		}
		s.edge.Store(&messages.EdgeStatus{})
		for range 4 {
			s.pass(time.Second)
			s.send(up())
		}
		s.wantPhase("without", messages.Running)
		if lines := s.lines(eventEdge); len(lines) != 1 || lines[0]["level"] != "info" {
			t.Errorf("logged %v", lines)
		}
	})
}

// What waits for a conductor that is busy is seen from outside.
func TestTheMailboxIsSeen(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		steps := s.series("conductor_step_seconds", "")
		s.freeze(20 * time.Second)
		time.Sleep(time.Second) // of the bubble's clock; the step hangs now
		for range 3 {
			if err := s.mailbox.Send(t.Context(), up()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if depth, oldest := s.series("conductor_mailbox_depth", ""), s.series("conductor_mailbox_oldest_seconds", ""); depth != 3 || oldest != 3 {
			t.Errorf("%v facts wait, the oldest for %v s; want 3 and 3", depth, oldest)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if depth, oldest := s.series("conductor_mailbox_depth", ""), s.series("conductor_mailbox_oldest_seconds", ""); depth != 0 || oldest != 0 {
			t.Errorf("%v facts wait, the oldest for %v s; want none", depth, oldest)
		}
		if n := s.series("conductor_step_seconds", ""); n <= steps {
			t.Errorf("%v steps are counted, before %v", n, steps)
		}
		if last := s.series("conductor_last_step_timestamp_seconds", ""); last != float64(time.Now().UnixMilli())/1000 {
			t.Errorf("the last step was at %v, now it is %v", last, time.Now())
		}
		if n := s.series("conductor_facts_total", string(messages.KindTailnetObserved)); n != 4 {
			t.Errorf("%v looks are counted, want 4", n)
		}
	})
}
