package conductor

import (
	"encoding/json"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/lifecycle"
	"anthropic-oauth-proxy/messages"
)

// A journal is a life that can be lived again: the machine is pure.
func TestAJournalReplays(t *testing.T) {
	play(t, func(s *stage) {
		born := lifecycle.New(time.Now(), limits)
		trouble := messages.EdgeStatus{Trouble: messages.TroubleNotAnswering, Detail: "ask our own port: no answer within 2s"}
		s.send(on)
		s.pass(3 * time.Second)
		s.send(down(messages.ReasonNeedsLogin), down(messages.ReasonNeedsLogin), up(), ready)
		for range 20 {
			s.pass(time.Second)
			s.send(up())
		}
		s.edge.Store(&trouble)
		s.pass(10 * time.Second) // the tailnet goes stale as well
		s.edge.Store(&messages.EdgeStatus{})
		s.send(up())
		s.pass(5 * time.Second)
		s.send(down(messages.ReasonRefused), up(), sigterm, messages.Interrupted{Cause: "SIGINT"}, ready)

		journal := s.actor.Journal.Entries()
		replay(t, born, journal)

		// So does one that was written to stderr or fetched from a page.
		page, err := json.Marshal(journal)
		if err != nil {
			t.Fatal(err)
		}
		var again []messages.JournalEntry
		if err := json.Unmarshal(page, &again); err != nil {
			t.Fatal(err)
		}
		replay(t, born, again)

		phases := map[messages.Phase]bool{}
		for _, e := range journal {
			phases[e.State.Phase] = true
		}
		if len(phases) < 6 || journal[len(journal)-1].State.Phase != messages.Stopped {
			t.Errorf("the journal tells of %v only", phases)
		}
	})
}

// replay steps a machine through a journal and compares each state.
func replay(t *testing.T, m lifecycle.Machine, journal []messages.JournalEntry) {
	t.Helper()
	for i, e := range journal {
		m = m.Step(e.At, e.Fact)
		if e.Until.After(e.At) {
			m = m.Step(e.Until, e.Fact)
		}
		if again, then := text(t, m.State()), text(t, e.State); again != then {
			t.Fatalf("entry %d, %s: lived again it is\n%s\nit was\n%s", i, e.Fact.Kind(), again, then)
		}
	}
}

// text is all of a state but its clock.
func text(t *testing.T, s messages.State) string {
	t.Helper()
	b, err := json.Marshal(timeless(s))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Looks that find nothing new are one entry, ticks that change nothing are none.
func TestAJournalIsShort(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		before := len(s.actor.Journal.Entries())
		for range 100 {
			s.pass(time.Second)
			s.send(up())
		}
		entries := s.actor.Journal.Entries()
		last := entries[len(entries)-1]
		if len(entries) != before+1 || last.Fact.Kind() != messages.KindTailnetObserved || last.Times != 100 || last.Until.Sub(last.At) != 99*time.Second {
			t.Errorf("a hundred quiet looks made %d entries, the last %+v", len(entries)-before, last)
		}
	})
}

func TestAJournalIsBounded(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		for i := range 2 * journalSize {
			if i%2 == 0 {
				s.send(down(messages.ReasonRefused))
			} else {
				s.send(up())
			}
		}
		entries := s.actor.Journal.Entries()
		if len(entries) != journalSize {
			t.Fatalf("%d entries, want %d", len(entries), journalSize)
		}
		for i, e := range entries {
			if want := i%2 == 1; (e.State.Phase == messages.Running) != want || i > 0 && e.At.Before(entries[i-1].At) {
				t.Fatalf("entry %d is %+v", i, e)
			}
		}
	})
}

func TestAStrangeJournalIsRefused(t *testing.T) {
	var e messages.JournalEntry
	for _, text := range []string{`{"kind":"unheard_of","fact":{}}`, `{"kind":"ticked","fact":[]}`, `[]`} {
		if err := json.Unmarshal([]byte(text), &e); err == nil {
			t.Errorf("%s is read as %+v", text, e)
		}
	}
	for _, k := range messages.Kinds {
		if err := json.Unmarshal([]byte(`{"kind":"`+string(k)+`","fact":{}}`), &e); err != nil || e.Fact.Kind() != k {
			t.Errorf("%s is read as %+v: %v", k, e, err)
		}
	}
}
