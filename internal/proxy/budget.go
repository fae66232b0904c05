package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A page is a piece of memory for what was read of a body. The pages of a body
// double from the smallest to the largest, so that memory is taken by what has
// arrived and not by what a client says will come.
type page []byte

const smallestPage = 4 << 10

// freePages are the free pages by class: 4, 8, 16, 32 and 64 KiB.
var freePages [5]sync.Pool

// pageClass is the class of a body's n-th page.
func pageClass(n int) int { return min(n, len(freePages)-1) }

func pageSize(n int) int64 { return smallestPage << pageClass(n) }

func newPage(n int) page {
	if p, ok := freePages[pageClass(n)].Get().(*page); ok {
		return (*p)[:0]
	}
	return make(page, 0, pageSize(n))
}

func freePage(n int, p page) { freePages[pageClass(n)].Put(&p) }

// budget bounds the memory that read-ahead bodies hold in the whole process.
// Above it there is a reserve, for one body at a time that has to be read before
// anything goes out: it can go on even when all the rest is taken.
type budget struct {
	size    int64
	left    atomic.Int64
	reserve chan struct{} // holds a token while it is free
}

func newBudget(bytes int64) *budget {
	b := &budget{size: bytes, reserve: make(chan struct{}, 1)}
	b.left.Store(bytes)
	b.reserve <- struct{}{}
	return b
}

// taken is how much is in use, without the reserve.
func (b *budget) taken() int64 { return b.size - b.left.Load() }

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// hold waits for the reserve, for as long as ctx and patience last.
func (b *budget) hold(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-b.reserve:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return queueTimeout
	}
}

func (b *budget) release() { b.reserve <- struct{}{} }
