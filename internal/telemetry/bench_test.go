package telemetry

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/diode"
)

// BenchmarkLogger is what a request's line costs on the way to a pipe that
// another process reads, in this process's CPU time: written by the request
// itself, through zerolog's diode, and through Lines.
func BenchmarkLogger(b *testing.B) {
	for _, way := range []struct {
		name  string
		wrap  func(io.Writer) io.Writer
		close func(io.Writer)
	}{
		{"direct", func(w io.Writer) io.Writer { return w }, func(io.Writer) {}},
		{"diode", func(w io.Writer) io.Writer { return diode.NewWriter(w, 2048, 0, nil) }, func(w io.Writer) { w.(io.Closer).Close() }},
		{"lines", func(w io.Writer) io.Writer { return NewLines(w) }, func(w io.Writer) { w.(io.Closer).Close() }},
	} {
		b.Run(way.name, func(b *testing.B) {
			r, pipe, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			reader := exec.Command("cat")
			reader.Stdin = r
			if err := reader.Start(); err != nil {
				b.Fatal(err)
			}
			r.Close()
			w := os.NewFile(pipe.Fd(), "stdout") // as os.Stdout is: a descriptor that blocks
			to := way.wrap(struct{ io.Writer }{w})
			log := NewLogger(to, zerolog.InfoLevel)
			before := processTime(b)
			for b.Loop() {
				requestLine(log)
			}
			way.close(to)
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
			pipe.Close()
			if err := reader.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func requestLine(log zerolog.Logger) {
	log.Info().Str("event", "request").Str("request_id", "req_011CVbTqCw8fUq6nK1jQX2aB").Str("method", "POST").
		Str("path", "/v1/messages").Int("status", 200).Str("outcome", "completed").Float64("ttfb_ms", 812.25).
		Float64("duration_ms", 2714.5).Float64("queue_ms", 0).Int64("bytes_in", 18211).Int64("bytes_out", 9302).
		Int("attempts", 1).Str("credential", "oauth").Msg("request")
}

// processTime is the CPU time that this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
