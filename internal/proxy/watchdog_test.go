package proxy

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		d := &watchdog{clock: newClock()}
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

// One timer serves many: each barks when its own limit is over, whatever others
// do in the meantime.
func TestManyWatchdogsHaveOneClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 200
		rnd := rand.New(rand.NewPCG(1, 2))
		c := newClock()
		begin := time.Now()
		var mu sync.Mutex
		var pack [many]*watchdog
		var due, barked [many]time.Duration // since begin; due is 0 when it must not bark
		for i := range pack {
			pack[i] = &watchdog{clock: c}
		}
		for range 20 * many {
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
			synctest.Wait()
			i, now := rnd.IntN(many), time.Since(begin)
			over := due[i] != 0 && due[i] <= now
			switch limit := time.Duration(1+rnd.IntN(30)) * time.Second; {
			case rnd.IntN(4) == 0:
				pack[i].stop()
				if !over {
					due[i] = 0
				}
			case due[i] != 0 && !over && rnd.IntN(2) == 0:
				pack[i].touch()
				due[i] = now + pack[i].limit
			default:
				due[i], barked[i] = now+limit, 0
				pack[i].watch(limit, func() {
					mu.Lock()
					defer mu.Unlock()
					barked[i] = time.Since(begin)
				})
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if barked != due {
			t.Errorf("they barked at %v, were due at %v", barked, due)
		}
		if left := len(c.dogs); left != 0 {
			t.Errorf("%d are still looked at", left)
		}
	})
}

// What a phase costs while many others are watched.
func BenchmarkWatchdog(b *testing.B) {
	c := newClock()
	for range 10000 {
		(&watchdog{clock: c}).watch(time.Hour, func() {})
	}
	d, expire := &watchdog{clock: c}, func() {}
	b.ReportAllocs()
	for b.Loop() {
		d.watch(time.Minute, expire)
		d.stop()
	}
}
