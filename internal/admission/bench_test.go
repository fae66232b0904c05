package admission

import (
	"testing"
	"time"
)

// The gate's price while many are inside: of one request's way through it, and
// of a look at it.
func BenchmarkGate(b *testing.B) {
	g := NewGate(10_000, time.Minute)
	for range 9_500 {
		if _, err := enter(b.Context(), g, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ticket, err := enter(b.Context(), g, 1)
			if err != nil {
				b.Fatal(err)
			}
			ticket.Leave()
		}
	})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			g.Load()
		}
	})
}
