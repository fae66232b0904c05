package telemetry

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// stuckWriter takes nothing until it is let go.
type stuckWriter struct{ let chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.let
	return len(p), nil
}

// A writer that takes nothing is seen at once, long before a line is lost.
func TestLinesState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stuckWriter{make(chan struct{})}
		l := NewLines(w)
		line := append(bytes.Repeat([]byte("x"), 1<<10), '\n')
		write := func() {
			t.Helper()
			if _, err := l.Write(line); err != nil {
				t.Fatal(err)
			}
		}
		if s := l.State(); s != (LinesState{}) {
			t.Errorf("before a line: %+v", s)
		}
		write()
		time.Sleep(3 * time.Second)
		if s := l.State(); s.Stalled != 3*time.Second || s.Dropped != 0 || !s.LastDrop.IsZero() {
			t.Errorf("a stuck writer is %+v", s)
		}
		for range 2 * maxWaiting / len(line) {
			write()
		}
		if s := l.State(); s.Dropped == 0 || !s.LastDrop.Equal(time.Now()) {
			t.Errorf("a full one is %+v", s)
		}
		close(w.let)
		time.Sleep(time.Second)
		if s := l.State(); s.Stalled != 0 || s.Dropped == 0 {
			t.Errorf("one that flows again is %+v", s)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
