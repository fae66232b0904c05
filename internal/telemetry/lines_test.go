package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// moody is a writer that does as it is told: write is asked for each Write, and
// how many bytes of it are taken.
type moody struct {
	write func(p []byte) (int, error)

	mu     sync.Mutex
	text   bytes.Buffer
	writes int
}

func (m *moody) Write(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if m.write != nil {
		n, err = m.write(p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	m.text.Write(p[:n])
	return n, err
}

func (m *moody) take() (text string, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, writes = m.text.String(), m.writes
	m.text.Reset()
	m.writes = 0
	return text, writes
}

// counted is log_lines_dropped_total.
func counted(t *testing.T, l *Lines) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(l)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "log_lines_dropped_total" {
		t.Fatalf("gathered %v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// padding makes a line as long as a request's.
var padding = strings.Repeat("x", 480)

func numbered(i int) []byte { return fmt.Appendf(nil, "%d %s\n", i, padding) }

// read reads lines back: each must be whole, in order, and each gap must be
// told where it is. It returns how many lines there are and how many are told to
// be missing.
func read(t *testing.T, text string) (lines, missing int) {
	t.Helper()
	for line := range strings.Lines(text) {
		next := lines + missing
		if line == string(numbered(next)) {
			lines++
			continue
		}
		var note struct {
			Time  time.Time
			Level string
			Event string
			Lines int
		}
		err := json.Unmarshal([]byte(line), &note)
		if err != nil || note.Event != "log_lines_dropped" || note.Level != "warn" || note.Lines == 0 || note.Time.IsZero() {
			t.Fatalf("after line %d comes %.80q", next-1, line)
		}
		missing += note.Lines
	}
	return lines, missing
}

func TestALineAfterASilenceGoesOutAtOnceAndABusyMomentSharesAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out moody
		l := NewLines(&out)
		defer l.Close()
		for round := range 3 {
			l.Write(numbered(0))
			synctest.Wait()
			if text, writes := out.take(); writes != 1 || text != string(numbered(0)) {
				t.Fatalf("round %d: a lone line was written %d times: %q", round, writes, text)
			}
			for i := range 50 {
				l.Write(numbered(i))
				time.Sleep(pace / 100)
			}
			time.Sleep(pace)
			synctest.Wait()
			text, writes := out.take()
			if lines, _ := read(t, text); lines != 50 || writes != 1 {
				t.Errorf("round %d: 50 lines in half a pace came as %d in %d writes, want 1", round, lines, writes)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestNobodyWaitsForAStuckWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		out := moody{write: func(p []byte) (int, error) { <-stuck; return len(p), nil }}
		l := NewLines(&out)
		l.Write(numbered(0))
		synctest.Wait() // the first line is on its way
		const all = 10_000
		for i := 1; i < all; i++ {
			l.Write(numbered(i))
		}
		kept := len(l.waiting)
		if kept > maxWaiting || kept < maxWaiting-1024 {
			t.Errorf("%d bytes wait, the bound is %d", kept, maxWaiting)
		}
		close(stuck)
		time.Sleep(time.Second)
		synctest.Wait()
		text, _ := out.take()
		lines, missing := read(t, text)
		if lines+missing != all || missing == 0 {
			t.Errorf("%d lines came and %d are told to be missing, of %d", lines, missing, all)
		}
		if dropped := int(counted(t, l)); dropped != missing {
			t.Errorf("log_lines_dropped_total is %d, the log says %d", dropped, missing)
		}
		if !strings.Contains(text[strings.LastIndexByte(text[:len(text)-1], '\n'):], "log_lines_dropped") {
			t.Error("the gap is not told until another line comes")
		}
		l.Write(numbered(0))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if text, _ := out.take(); text != string(numbered(0)) {
			t.Errorf("afterwards came %.100q", text)
		}
	})
}

func TestLinesComeAgainAfterAFailure(t *testing.T) {
	for name, failure := range map[string]error{"full": syscall.ENOSPC, "no reader": syscall.EPIPE, "closed": os.ErrClosed} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fails atomic.Bool
				out := moody{}
				out.write = func(p []byte) (int, error) {
					if fails.Load() {
						return 0, failure
					}
					return len(p), nil
				}
				l := NewLines(&out)
				defer l.Close()
				for i := range 30 {
					fails.Store(10 <= i && i < 20)
					l.Write(numbered(i))
					time.Sleep(time.Second)
				}
				text, _ := out.take()
				if lines, missing := read(t, text); lines != 20 || missing != 10 || counted(t, l) != 10 {
					t.Errorf("%d lines came, %d are told to be missing, %v counted; want 20, 10, 10", lines, missing, counted(t, l))
				}
			})
		})
	}
}

// A writer may fail in any way and at any byte: what it holds in the end is
// whole lines in order, and every gap is told where it is.
func TestLinesAreWholeWhateverTheWriterDoes(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			chance := rand.New(rand.NewPCG(seed, 0))
			mood := rand.New(rand.NewPCG(seed, 1))
			var healthy atomic.Bool
			out := moody{}
			out.write = func(p []byte) (int, error) {
				time.Sleep(time.Duration(mood.IntN(200)) * time.Millisecond)
				if healthy.Load() {
					return len(p), nil
				}
				switch n := mood.IntN(len(p) + 1); mood.IntN(5) {
				case 0:
					return n, syscall.ENOSPC
				case 1:
					return n, syscall.EAGAIN
				case 2:
					return 0, syscall.EPIPE
				case 3:
					return min(n, len(p)-1), nil
				}
				return len(p), nil
			}
			l := NewLines(&out)
			sent := 0
			for range 50 {
				burst := chance.IntN(10)
				if chance.IntN(20) == 0 {
					burst = 3 * maxWaiting / len(padding) // more than can wait
				}
				for range burst {
					l.Write(numbered(sent))
					sent++
				}
				time.Sleep(time.Duration(chance.IntN(100)) * time.Millisecond)
			}
			time.Sleep(time.Minute)
			healthy.Store(true)
			l.Write(numbered(sent))
			sent++
			time.Sleep(time.Minute)
			text, _ := out.take()
			lines, missing := read(t, text)
			if lines+missing != sent {
				t.Errorf("seed %d: %d lines came, %d are told to be missing, %d were sent", seed, lines, missing, sent)
			}
			if dropped := int(counted(t, l)); dropped != missing {
				t.Errorf("seed %d: %d counted, %d told to be missing", seed, dropped, missing)
			}
			l.Close()
		})
	}
}

func TestCloseWritesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := 0
		out := moody{}
		out.write = func(p []byte) (int, error) {
			if busy++; busy < 5 {
				return min(100, len(p)), syscall.EAGAIN
			}
			return len(p), nil
		}
		l := NewLines(&out)
		for i := range 100 {
			l.Write(numbered(i))
		}
		began := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took >= FlushPatience {
			t.Errorf("Close took %v", took)
		}
		text, _ := out.take()
		if lines, missing := read(t, text); lines != 100 || missing != 0 {
			t.Errorf("%d lines came and %d are missing, want 100", lines, missing)
		}
		l.Write(numbered(0))
		if text, _ := out.take(); text != "" || counted(t, l) != 1 {
			t.Errorf("a line after the end: wrote %q, counted %v", text, counted(t, l))
		}
		if err := l.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

func TestTheEndDoesNotWaitForAWriterThatIsStuckOrFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		out := moody{write: func(p []byte) (int, error) { <-stuck; return len(p), nil }}
		l := NewLines(&out)
		l.Write(numbered(0))
		began := time.Now()
		if err := l.Close(); err == nil || time.Since(began) != FlushPatience {
			t.Errorf("Close took %v and returned %v", time.Since(began), err)
		}
		began = time.Now()
		Say(&out, "an end\n")
		if time.Since(began) != FlushPatience {
			t.Errorf("Say took %v", time.Since(began))
		}
		close(stuck)
		synctest.Wait()
		Say(&out, "another end\n")
		if text, _ := out.take(); !strings.HasSuffix(text, "another end\n") {
			t.Errorf("said %q", text)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		out := moody{write: func([]byte) (int, error) { return 0, syscall.EPIPE }}
		l := NewLines(&out)
		l.Write(numbered(0))
		began := time.Now()
		if err := l.Close(); err != nil || time.Since(began) >= FlushPatience {
			t.Errorf("Close of a dead writer took %v and returned %v", time.Since(began), err)
		}
	})
}

// A pipe knows deadlines: nothing is left of the goroutine.
func TestAPipeThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	l := NewLines(w)
	for i := range 3000 {
		l.Write(numbered(i))
	}
	err = l.Close()
	if err != nil && !strings.Contains(err.Error(), "does not take") {
		t.Error(err)
	}
	<-l.closed
	if dropped := counted(t, l); dropped == 0 {
		t.Error("nothing is counted as dropped")
	}
}

func TestManyWriteAtOnce(t *testing.T) {
	var out moody
	l := NewLines(&out)
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for id := range writers {
		wg.Go(func() {
			for i := range each {
				l.Write(fmt.Appendf(nil, "%d %d\n", id, i))
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, _ := out.take()
	var next [writers]int
	for line := range strings.Lines(text) {
		var id, i int
		if _, err := fmt.Sscanf(line, "%d %d\n", &id, &i); err != nil || i != next[id] {
			t.Fatalf("line %q, want number %d", line, next[id])
		}
		next[id]++
	}
	for id, n := range next {
		if n != each {
			t.Errorf("writer %d has %d lines, want %d", id, n, each)
		}
	}
}
