package tailnet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// BenchmarkPollInterval puts the price of a poll interval beside what it buys:
// CPU per minute of the service and of tailscaled, both idle, and how soon a
// tailscaled that hangs is noticed, which only polls can see.
//
//	go test -run '^$' -bench PollInterval -benchtime 8x ./tailnet
func BenchmarkPollInterval(b *testing.B) {
	for _, secs := range []int{1, 2, 5, 10} {
		b.Run(fmt.Sprintf("%ds", secs), func(b *testing.B) {
			ctx := b.Context()
			l, err := lab.Start(ctx, lab.Options{Proxy: lab.ProxyOptions{Tailscale: fmt.Sprintf("poll_interval_secs = %d", secs)}})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			interval := time.Duration(secs) * time.Second
			window := max(10*time.Second, 3*interval)
			pids := []int{l.Proxy.PID(), l.Sidecar.PID()}
			before := []time.Duration{onCPU(b, pids[0]), onCPU(b, pids[1])}
			time.Sleep(window)
			perMinute := func(i int) float64 {
				return float64((onCPU(b, pids[i]) - before[i]).Milliseconds()) * float64(time.Minute) / float64(window)
			}
			proxy, sidecar := perMinute(0), perMinute(1)

			var sum, worst time.Duration
			for i := range b.N {
				time.Sleep(interval * time.Duration(i) / time.Duration(b.N)) // spread over the interval
				hung := time.Now()
				l.Sidecar.Hang()
				_, at, err := l.Proxy.AwaitHealth(ctx, func(h lab.Health) bool { return !h.Connected() })
				if err != nil {
					b.Fatal(err)
				}
				sum, worst = sum+at.Sub(hung), max(worst, at.Sub(hung))
				l.Sidecar.Resume()
				if _, _, err := l.Proxy.AwaitHealth(ctx, lab.Health.Connected); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op") // the clock says nothing here
			b.ReportMetric(proxy, "service-cpu-ms/min")
			b.ReportMetric(sidecar, "tailscaled-cpu-ms/min")
			b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "seen-mean-ms")
			b.ReportMetric(float64(worst.Milliseconds()), "seen-worst-ms")
		})
	}
}

// onCPU is the time that a process has had on a core so far.
func onCPU(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		tb.Fatalf("read schedstat of %d: %v", pid, err)
	}
	var sum int64
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has just ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		sum += ns
	}
	return time.Duration(sum)
}
