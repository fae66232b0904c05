package status

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Streams is the table of the requests in flight. Who adds, leaves or moves on
// never waits for who reads: the table is a concurrent map, its entries are
// atomic. The zero table is empty.
type Streams struct{ live sync.Map } // *Live -> struct{}

// Live is one request in flight. Its owner moves it on, anybody reads it.
type Live struct {
	id, path, credential string
	since                time.Time

	phase    atomic.Pointer[string]
	caller   atomic.Pointer[string]
	sent     atomic.Int64
	received atomic.Int64
	lastByte atomic.Int64 // of the answer, in nanoseconds since 1970; 0 before
}

// Enter puts a request into the table. The path is without its query. Leave
// must follow.
func (s *Streams) Enter(id, path, credential, phase string, since time.Time) *Live {
	l := &Live{id: id, path: path, credential: credential, since: since}
	l.phase.Store(&phase)
	s.live.Store(l, struct{}{})
	return l
}

// Leave takes it out.
func (s *Streams) Leave(l *Live) { s.live.Delete(l) }

// SetPhase says what it is doing.
func (l *Live) SetPhase(phase string) { l.phase.Store(&phase) }

// SetCaller says who asks, where that is known.
func (l *Live) SetCaller(caller string) { l.caller.Store(&caller) }

// AddSent counts bytes of its body that were read from the client.
func (l *Live) AddSent(n int) { l.sent.Add(int64(n)) }

// AddReceived counts bytes of its answer, which came now.
func (l *Live) AddReceived(n int, now time.Time) {
	l.received.Add(int64(n))
	l.lastByte.Store(now.UnixNano())
}

// read lists the oldest, and how many there are.
func (s *Streams) read(now time.Time, most int) ([]Stream, int) {
	var all []*Live
	s.live.Range(func(l, _ any) bool {
		all = append(all, l.(*Live))
		return true
	})
	slices.SortFunc(all, func(a, b *Live) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.id, b.id)) })
	list := make([]Stream, 0, min(most, len(all)))
	for _, l := range all[:min(most, len(all))] {
		list = append(list, l.view(now))
	}
	return list, len(all)
}

func (l *Live) view(now time.Time) Stream {
	v := Stream{
		ID: l.id, Path: l.path, Credential: l.credential, Phase: *l.phase.Load(),
		AgeSeconds: now.Sub(l.since).Seconds(), Sent: l.sent.Load(), Received: l.received.Load(),
	}
	if caller := l.caller.Load(); caller != nil {
		v.Caller = *caller
	}
	if last := l.lastByte.Load(); last != 0 {
		quiet := max(0, now.Sub(time.Unix(0, last)).Seconds())
		v.QuietSeconds = &quiet
	}
	return v
}
