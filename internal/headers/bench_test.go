package headers

import "testing"

// The spelling of a name that the API sends with every answer to a
// subscription, and of one that nobody knows.
func BenchmarkCanonical(b *testing.B) {
	for _, name := range []string{"anthropic-ratelimit-unified-5h-utilization", "x-nobody-knows-this-one"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Canonical(name)
			}
		})
	}
}
