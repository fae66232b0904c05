package messages

import "context"

// Mailbox is a bounded queue with many senders and one reader. It outlives
// both: a reader that panics loses the message it held and nothing else.
type Mailbox[T any] struct{ c chan T }

// NewMailbox makes a mailbox that holds size messages before senders wait.
func NewMailbox[T any](size int) *Mailbox[T] {
	return &Mailbox[T]{c: make(chan T, size)}
}

// Send delivers v, waiting for room. It returns the context's cause when the
// context ends first; the message is then not delivered.
func (m *Mailbox[T]) Send(ctx context.Context, v T) error {
	select {
	case m.c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Messages is where the one reader receives.
func (m *Mailbox[T]) Messages() <-chan T { return m.c }
