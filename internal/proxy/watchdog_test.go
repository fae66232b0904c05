package proxy

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		d := newWatchdog()
		var mu sync.Mutex
		var barks []string
		bark := func(name string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				barks = append(barks, name)
			}
		}
		step := func(what string, sleep time.Duration, want int) {
			t.Helper()
			time.Sleep(sleep)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(barks) != want {
				t.Fatalf("%s: barks %v, want %d", what, barks, want)
			}
		}
		d.watch(limit, bark("a"))
		for range 5 {
			step("touched in time", limit-time.Second, 0)
			d.touch()
		}
		step("just before", limit-time.Nanosecond, 0)
		step("at the limit", time.Nanosecond, 1)
		step("it barks once", 10*limit, 1)

		d.watch(limit, bark("b"))
		step("half of b", limit/2, 1)
		d.watch(2*limit, bark("c"))
		step("a new phase starts anew", 2*limit-time.Second, 1)
		step("and ends", time.Second, 2)
		if barks[1] != "c" {
			t.Errorf("barks %v, want c", barks)
		}
		d.watch(limit, bark("d"))
		d.stop()
		step("stopped", 10*limit, 2)
		d.touch()
		step("a touch wakes nobody", 10*limit, 2)
		d.watch(time.Second, bark("e"))
		step("watched again, shorter", time.Second, 3)
		d.stop()
	})
}
