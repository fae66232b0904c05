package messages

import (
	"encoding/json"
	"fmt"
	"time"
)

// JournalEntry is one fact in the journal of a life, and the state that
// followed. The machine is pure, so that a journal can be played again.
type JournalEntry struct {
	At   time.Time
	Fact Event
	// Times counts a fact that came again and changed nothing; Until is when it
	// did last. Fact and State are the newest ones then.
	Times int
	Until time.Time
	State State
}

// journalJSON is a [JournalEntry] on a page.
type journalJSON struct {
	At    time.Time       `json:"at"`
	Kind  Kind            `json:"kind"`
	Fact  json.RawMessage `json:"fact"`
	Times int             `json:"times"`
	Until time.Time       `json:"until"`
	State State           `json:"state"`
}

// MarshalJSON writes the entry with the kind of its fact.
func (e JournalEntry) MarshalJSON() ([]byte, error) {
	fact, err := json.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("write journal entry: %w", err)
	}
	return json.Marshal(journalJSON{e.At, e.Fact.Kind(), fact, e.Times, e.Until, e.State})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *JournalEntry) UnmarshalJSON(b []byte) error {
	var j journalJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("read journal entry: %w", err)
	}
	read, known := readers[j.Kind]
	if !known {
		return fmt.Errorf("read journal entry: unknown kind %q", j.Kind)
	}
	fact, err := read(j.Fact)
	if err != nil {
		return fmt.Errorf("read journal entry of the kind %s: %w", j.Kind, err)
	}
	*e = JournalEntry{At: j.At, Fact: fact, Times: j.Times, Until: j.Until, State: j.State}
	return nil
}

// readers read a fact of each kind.
var readers = map[Kind]func([]byte) (Event, error){
	KindConfigLoaded:      readFact[ConfigLoaded],
	KindTailnetObserved:   readFact[TailnetObserved],
	KindListenerReady:     readFact[ListenerReady],
	KindListenerFailed:    readFact[ListenerFailed],
	KindShutdownRequested: readFact[ShutdownRequested],
	KindInterrupted:       readFact[Interrupted],
	KindDrainFinished:     readFact[DrainFinished],
	KindEdgeObserved:      readFact[EdgeObserved],
	KindStalled:           readFact[Stalled],
	KindTicked:            readFact[Ticked],
}

func readFact[E Event](b []byte) (Event, error) {
	var ev E
	err := json.Unmarshal(b, &ev)
	return ev, err
}
