package sse

import (
	"strings"
	"testing"
)

// between is what Between must say, by the standard's own words: the stream is
// empty, or ends with the line end of a line and then an empty line.
func between(s string) bool {
	return s == "" || strings.HasSuffix(s, "\n\n") || strings.HasSuffix(s, "\r\n\r\n")
}

func TestBetween(t *testing.T) {
	for s, want := range map[string]bool{
		"":                      true,
		"data: x":               false,
		"data: x\n":             false,
		"data: x\n\n":           true,
		"data: x\r\n\r\n":       true,
		"data: x\r\n":           false,
		"data: x\n\r":           false,
		"\n":                    false,
		"data: x\n\nd":          false,
		": comment\n\n":         true,
		"data: x\r\n\r\n\r":     false,
		"event: a\ndata: b\n\n": true,
	} {
		for cut := range len(s) + 1 {
			var b Boundary
			_, _ = b.Write([]byte(s[:cut]))
			_, _ = b.Write(nil)
			_, _ = b.Write([]byte(s[cut:]))
			if got := b.Between(); got != want {
				t.Errorf("%q cut at %d: got %v, want %v", s, cut, got, want)
			}
		}
	}
}

func FuzzBoundary(f *testing.F) {
	for _, s := range []string{"", "a\n\n", "a\r\n\r\n", "\n\n", "a\nb\r\n"} {
		f.Add(s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, s string, step uint8) {
		var b Boundary
		for rest := s; rest != ""; {
			n := min(int(step%7)+1, len(rest))
			if m, err := b.Write([]byte(rest[:n])); m != n || err != nil {
				t.Fatalf("Write: %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if got := b.Between(); got != between(s) {
			t.Errorf("%q in steps of %d: got %v, want %v", s, step%7+1, got, between(s))
		}
	})
}
