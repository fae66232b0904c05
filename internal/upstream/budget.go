package upstream

import "sync/atomic"

// The receive windows of streams. A fresh one is as wide as the standard
// library's, so that most answers take one round trip; it grows further for a
// reader that keeps up.
const (
	freshWindow = 4 << 20
	mostGrown   = 16 << 20
	growth      = 4 // how many times a window grows within a round trip
)

// straits are what answers that came and were not read may take up in the whole
// process, and how wide a fresh window is beyond that: the more is held for
// those who do not come for it, the less each of them gets. The last one is for
// good: there is always a little.
var straits = []struct{ above, window int }{
	{0, freshWindow}, {16 << 20, 1 << 20}, {32 << 20, 256 << 10}, {64 << 20, 64 << 10},
}

// budget counts what is held for readers that have not come for it. It is
// shared by all connections and safe for concurrent use.
type budget struct {
	held  atomic.Int64
	level atomic.Int32 // into straits
}

func (b *budget) take(n int) {
	held := b.held.Add(int64(n))
	if l := int(b.level.Load()); l+1 < len(straits) && held > int64(straits[l+1].above) {
		b.level.CompareAndSwap(int32(l), int32(l+1))
	}
}

// give takes half of what led there to be widened again, so that windows do not
// change with every answer.
func (b *budget) give(n int) {
	held := b.held.Add(-int64(n))
	if l := b.level.Load(); l > 0 && held < int64(straits[l].above/2) {
		b.level.CompareAndSwap(l, l-1)
	}
}

// window is what a fresh stream gets.
func (b *budget) window() int { return straits[b.level.Load()].window }

// ample reports whether windows may grow.
func (b *budget) ample() bool { return b.level.Load() == 0 }
