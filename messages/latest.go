package messages

import (
	"context"
	"sync"
)

// Latest is a cell that always holds the newest value. Any goroutine may load
// it; one owner stores.
type Latest[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{}
}

// NewLatest makes a cell that holds v.
func NewLatest[T any](v T) *Latest[T] {
	return &Latest[T]{value: v, changed: make(chan struct{})}
}

// Load returns the value and a channel that closes when it is replaced. A
// reader that loads, acts and then waits on the channel misses no newest
// value, though it may skip older ones.
func (l *Latest[T]) Load() (T, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, l.changed
}

// Get returns the value alone.
func (l *Latest[T]) Get() T {
	v, _ := l.Load()
	return v
}

// Await returns the first value it sees of which holds is true, the present one
// at once. It returns ctx's error when that ends first. holds is
// called without a lock, from the caller's goroutine; values that are replaced
// quickly may be skipped.
func (l *Latest[T]) Await(ctx context.Context, holds func(T) bool) (T, error) {
	for {
		v, changed := l.Load()
		if holds(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// Store replaces the value and wakes everybody who waits.
func (l *Latest[T]) Store(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value = v
	close(l.changed)
	l.changed = make(chan struct{})
}
