package messages

import (
	"context"
	"sync"
	"time"
)

// Mailbox is a bounded queue with many senders and one reader. It outlives
// both: a reader that panics loses the message it held and nothing else.
type Mailbox[T any] struct {
	c chan T

	mu    sync.Mutex
	times []time.Time // when the newest messages came, oldest first
}

// NewMailbox makes a mailbox that holds size messages before senders wait.
func NewMailbox[T any](size int) *Mailbox[T] {
	return &Mailbox[T]{c: make(chan T, size)}
}

// Send delivers v, waiting for room. It returns the context's cause when the
// context ends first; the message is then not delivered.
func (m *Mailbox[T]) Send(ctx context.Context, v T) error {
	if m.offer(v) {
		return nil
	}
	select {
	case m.c <- v:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.note()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// offer delivers v if there is room.
func (m *Mailbox[T]) offer(v T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case m.c <- v:
		m.note()
		return true
	default:
		return false
	}
}

// note remembers when a message came and forgets those that were taken. The
// caller holds mu.
func (m *Mailbox[T]) note() {
	m.times = append(m.waiting(len(m.c)-1), time.Now())
}

// waiting are the times of the newest n messages. The caller holds mu.
func (m *Mailbox[T]) waiting(n int) []time.Time {
	return m.times[len(m.times)-max(0, min(n, len(m.times))):]
}

// Messages is where the one reader receives.
func (m *Mailbox[T]) Messages() <-chan T { return m.c }

// Depth is how many messages wait for the reader.
func (m *Mailbox[T]) Depth() int { return len(m.c) }

// Oldest is how long the oldest message has waited; 0 when none does.
func (m *Mailbox[T]) Oldest(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := m.waiting(len(m.c))
	if len(waiting) == 0 {
		return 0
	}
	return now.Sub(waiting[0])
}
