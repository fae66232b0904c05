package conductor

import (
	"reflect"
	"sync"
	"time"

	"anthropic-oauth-proxy/messages"
)

// journalSize is how many entries are kept.
const journalSize = 256

// Journal keeps the newest facts and what they changed. Ticks that changed
// nothing are left out, and a fact that comes again without changing anything is
// counted in one entry. The conductor writes; any goroutine may read.
type Journal struct {
	mu   sync.Mutex
	ring [journalSize]messages.JournalEntry
	next uint64 // entries ever written
}

// NewJournal makes an empty journal.
func NewJournal() *Journal { return &Journal{} }

// enter adds a fact, the state before it and the one that followed.
func (j *Journal) enter(at time.Time, fact messages.Event, before, after messages.State) {
	news := changed(before, after)
	if fact.Kind() == messages.KindTicked && !news {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.next > 0 && !news {
		last := &j.ring[(j.next-1)%journalSize]
		if last.Fact.Kind() == fact.Kind() && !changed(last.State, after) {
			last.Fact, last.State, last.Until = fact, after, at
			last.Times++
			return
		}
	}
	j.ring[j.next%journalSize] = messages.JournalEntry{At: at, Until: at, Times: 1, Fact: fact, State: after}
	j.next++
}

// changed reports whether anything but the clock and a wording is different.
func changed(a, b messages.State) bool {
	return !reflect.DeepEqual(timeless(a), timeless(b))
}

func timeless(s messages.State) messages.State {
	s.TickedAt = time.Time{}
	s.Tailnet.At = time.Time{}
	s.Tailnet.Detail = ""
	return s
}

// Entries are the entries, oldest first.
func (j *Journal) Entries() []messages.JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := j.next - min(j.next, journalSize)
	all := make([]messages.JournalEntry, 0, j.next-first)
	for i := first; i < j.next; i++ {
		all = append(all, j.ring[i%journalSize])
	}
	return all
}
