package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/messages"
)

// role is a service whose lives a test writes.
type role struct {
	live func(ctx context.Context) error
}

func (role) String() string                    { return "role" }
func (r role) Serve(ctx context.Context) error { return r.live(ctx) }

// troupe is one role under a supervisor with accounts, in virtual time.
type troupe struct {
	t        *testing.T
	accounts *accounts
	registry *prometheus.Registry
	log      logBook
	cancel   context.CancelFunc
	ended    <-chan error
}

func perform(t *testing.T, live func(ctx context.Context) error) *troupe {
	p := &troupe{t: t, accounts: &accounts{}, registry: prometheus.NewRegistry()}
	p.registry.MustRegister(p.accounts)
	domain := tree{accounts: p.accounts, log: zerolog.New(&p.log)}.supervisor("edge", longestEdgePause, role{live})
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	p.expect("before the start", 0, 0)
	p.ended = domain.ServeBackground(ctx)
	synctest.Wait()
	return p
}

// performUntil has the role live until it is told to fail.
func performUntil(t *testing.T) (p *troupe, fail chan<- error) {
	failures := make(chan error)
	return perform(t, func(ctx context.Context) error {
		select {
		case err := <-failures:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}), failures
}

// series reads one metric off the registry by its name and its labels' values.
func (p *troupe) series(name string, labels ...string) float64 {
	p.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && strings.Join(values, " ") == strings.Join(labels, " ") {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	p.t.Fatalf("no series %s%v", name, labels)
	return 0
}

// expect compares the gauges and the tree with whether and how long the role
// is up.
func (p *troupe) expect(when string, up float64, uptime time.Duration) {
	p.t.Helper()
	if got := p.series("supervisor_service_up", "role"); got != up {
		p.t.Errorf("%s: supervisor_service_up is %v, want %v", when, got, up)
	}
	if got := p.series("supervisor_service_uptime_seconds", "role"); got != uptime.Seconds() {
		p.t.Errorf("%s: supervisor_service_uptime_seconds is %v, want %v", when, got, uptime.Seconds())
	}
	if v := p.view(); v.Up != (up == 1) || v.UpSeconds != int64(uptime.Seconds()) {
		p.t.Errorf("%s: /debug/tree shows %+v", when, v)
	}
}

func (p *troupe) view() ServiceView { return viewOf(p.accounts.Services(), time.Now())[0] }

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

var errNoLuck = errors.New("no luck")

// Five quick failures are forgiven; then there are pauses, each twice as long as
// the last one: a service that never lives does not fail at the same rate for
// ever.
func TestPausesInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives := 0
		p := perform(t, func(context.Context) error { lives++; return errNoLuck })
		pauses := []time.Duration{1, 2, 4, 8, 8, 8}
		for i, pause := range pauses {
			pause *= time.Second
			if lives != (i+1)*(failureThreshold+1) {
				t.Fatalf("pause %d comes after %d lives", i+1, lives)
			}
			v := p.view()
			if p.series("supervisor_backoff", "edge") != 1 || !v.BackingOff || v.Restarts != lives || v.Incarnation != lives {
				t.Errorf("pause %d: /debug/tree shows %+v", i+1, v)
			}
			if got := time.Until(*v.RetryAt); got != pause {
				t.Errorf("pause %d lasts %v, want %v", i+1, got, pause)
			}
			if n := p.log.count("supervisor_resume"); n != i {
				t.Errorf("pause %d: %d resumptions are logged", i+1, n)
			}
			if got := p.accounts.service("role").Pauses; got != i+1 {
				t.Errorf("pause %d is number %d in the accounts", i+1, got)
			}
			pass(pause)
		}
		if got := p.series("supervisor_restarts_total", byError, "role"); got != float64(lives) {
			t.Errorf("%v restarts are counted, there were %d", got, lives)
		}
		if got := p.series("supervisor_restarts_last_minute", "role"); got != float64(lives) {
			t.Errorf("%v restarts in the last minute, there were %d", got, lives)
		}
		p.cancel()
		<-p.ended
	})
}

// After a minute without a pause a stumble is only that again, and the rate has
// forgotten it.
func TestAStormIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, fail := performUntil(t)
		stumble := func(when string, pause time.Duration) {
			for range failureThreshold + 1 {
				fail <- errNoLuck
				synctest.Wait()
			}
			v := p.view()
			if v.RetryAt == nil || time.Until(*v.RetryAt) != pause {
				t.Errorf("%s: retry at %v, want after %v", when, v.RetryAt, pause)
			}
			if v.LastMinute != failureThreshold+1 {
				t.Errorf("%s: %d restarts in the last minute", when, v.LastMinute)
			}
			pass(pause)
		}
		stumble("the first time", time.Second)
		pass(calm - time.Nanosecond)
		stumble("within a minute", 2*time.Second)
		pass(calm)
		if v := p.view(); v.LastMinute != 0 || v.BackingOff || p.accounts.service("role").Pauses != 0 {
			t.Errorf("after a calm minute: %+v", v)
		}
		stumble("after a calm minute", time.Second)
		p.cancel()
		<-p.ended
	})
}

// The stack of one cause is told once; each failure has its line, and the newest
// causes are kept with their time.
func TestOneStackForOneCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		lives := 0
		p := perform(t, func(ctx context.Context) error {
			if lives++; lives > 3*(failureThreshold+1) {
				<-ctx.Done()
				return ctx.Err()
			}
			panic("cause " + string(rune('a'+lives%2)) + strings.Repeat("!", 2*messages.CauseBytes))
		})
		pass(time.Minute)
		if n := p.log.count("service_panic"); n != lives-1 {
			t.Errorf("%d panics are logged, there were %d", n, lives-1)
		}
		if n := strings.Count(p.log.String(), `"stack":`); n != 2 {
			t.Errorf("%d stacks are logged for two causes", n)
		}
		a := p.accounts.service("role")
		if len(a.Causes) != messages.CausesKept {
			t.Fatalf("%d causes are kept, want %d", len(a.Causes), messages.CausesKept)
		}
		for i, c := range a.Causes {
			if c.Kind != messages.CausePanic || !strings.HasPrefix(c.Message, "cause ") || len(c.Message) > messages.CauseBytes {
				t.Errorf("cause %d is %+v", i, c)
			}
			if i > 0 && c.At.Before(a.Causes[i-1].At) || c.At.Before(began) {
				t.Errorf("cause %d came at %v", i, c.At)
			}
		}
		p.cancel()
		<-p.ended
	})
}

func TestUptime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, fail := performUntil(t)
		pass(90 * time.Second)
		p.expect("after a minute and a half", 1, 90*time.Second)
		fail <- errNoLuck
		pass(3 * time.Second)
		p.expect("3 s after a restart", 1, 3*time.Second)
		for range failureThreshold {
			fail <- errNoLuck
			synctest.Wait()
		}
		p.expect("during a pause", 0, 0)
		p.cancel()
		<-p.ended
		p.expect("in the end", 0, 0)
	})
}

func TestAServiceThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := perform(t, func(context.Context) error { <-release; return nil })
		began := time.Now()
		p.cancel()
		<-p.ended
		if took := time.Since(began); took != stopTimeout {
			t.Errorf("the tree waited %v, want %v", took, stopTimeout)
		}
		if p.log.count("service_stuck") != 1 || !strings.Contains(p.log.String(), `"service":"role"`) {
			t.Errorf("the log:\n%s", &p.log)
		}
		p.expect("stuck", 1, stopTimeout)
		close(release)
		synctest.Wait()
		p.expect("released", 0, 0)
	})
}
