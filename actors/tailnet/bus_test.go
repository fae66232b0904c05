package tailnet

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// brokenBus is opened, says a few things and ends.
type brokenBus struct {
	*fakeSource
	lives    time.Duration
	messages int
	fails    error // instead of opening
	opens    atomic.Int32
}

func (b *brokenBus) Watch(ctx context.Context, wake func(Warnings)) error {
	b.opens.Add(1)
	if b.fails != nil {
		return b.fails
	}
	wake(nil)
	for range b.messages {
		wake(nil)
	}
	rest(ctx, b.lives)
	return errors.New("read bus: EOF")
}

// A bus that breaks again and again costs tailscaled next to nothing, and is
// seen.
func TestAnUnsteadyBus(t *testing.T) {
	const minutes = 10
	for _, tc := range []struct {
		name     string
		bus      *brokenBus
		opens    int // at most, per minute
		polls    int // at most, per minute
		warnings int // of the log
	}{
		{"one message, then it breaks", &brokenBus{messages: 1}, 13, 110, minutes},
		{"not even one", &brokenBus{}, 13, 110, minutes},
		{"after a moment", &brokenBus{messages: 1, lives: 100 * time.Millisecond}, 13, 140, minutes},
		{"an endpoint that is not there", &brokenBus{fails: errBadAnswer}, 13, 61, 0},
		{"nobody is there: a dial is cheap", &brokenBus{fails: syscall.ECONNREFUSED}, 301, 61, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.bus.fakeSource = newFake()
				log := &bytes.Buffer{}
				a := New(&facts{}, tc.bus, Config{PollInterval: 2 * time.Second}, zerolog.New(log).Level(zerolog.InfoLevel))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- a.Serve(ctx) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				tc.bus.takePolls()
				before := tc.bus.opens.Load()
				time.Sleep((minutes - 1) * time.Minute)
				synctest.Wait()
				opens, polls := int(tc.bus.opens.Load()-before)/(minutes-1), len(tc.bus.takePolls())/(minutes-1)
				if opens > tc.opens || polls > tc.polls {
					t.Errorf("%d opens and %d polls a minute, want at most %d and %d", opens, polls, tc.opens, tc.polls)
				}
				counted := counter(t, a, "tailnet_bus_opens_total")
				if want := int(tc.bus.opens.Load()); tc.bus.fails == nil && counted != want || tc.bus.fails != nil && counted != 0 {
					t.Errorf("%d opens are counted, there were %d", counted, want)
				}
				if n := strings.Count(log.String(), "tailnet_bus_unsteady"); n != tc.warnings {
					t.Errorf("%d warnings in %d minutes, want %d:\n%s", n, minutes, tc.warnings, log)
				}
				cancel()
				<-done
			})
		})
	}
}

// counter reads a metric as a scrape does.
func counter(t *testing.T, c prometheus.Collector, name string) int {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != name {
		t.Fatalf("gathered %v, %v", families, err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}

// A daemon that restarts each second is followed at full speed, and so is one
// that comes back after a storm.
func TestDeathsAreFollowedAtFullSpeed(t *testing.T) {
	var p pace
	for round := range 100 {
		if pause := p.after(300*time.Millisecond, errors.New("EOF")); pause != busRetryMin {
			t.Fatalf("round %d: a pause of %v after a death", round, pause)
		}
		for range 10 {
			if pause := p.after(0, syscall.ECONNREFUSED); pause > busRetryAbsent {
				t.Fatalf("round %d: a pause of %v while nobody is there", round, pause)
			}
		}
	}
	for range 20 {
		p.after(1, errors.New("EOF"))
	}
	if pause := p.after(1, errors.New("EOF")); pause != busRetryMax {
		t.Errorf("a pause of %v in a storm, want %v", pause, busRetryMax)
	}
	if pause := p.after(time.Minute, errors.New("EOF")); pause != busRetryMin {
		t.Errorf("a pause of %v after a steady minute", pause)
	}
}
