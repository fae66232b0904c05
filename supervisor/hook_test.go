package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/internal/telemetry"
)

// role is a service whose lives a test writes.
type role struct {
	live func(ctx context.Context) error
}

func (role) String() string                    { return "role" }
func (r role) Serve(ctx context.Context) error { return r.live(ctx) }

// troupe is one role under a supervisor of the ledger, in virtual time.
type troupe struct {
	t       *testing.T
	ledger  *ledger
	metrics *telemetry.Metrics
	log     logBook
	cancel  context.CancelFunc
	ended   <-chan error
}

func perform(t *testing.T, live func(ctx context.Context) error) *troupe {
	p := &troupe{t: t, metrics: telemetry.New("test")}
	p.ledger = newLedger(zerolog.New(&p.log), p.metrics.Supervisor)
	p.metrics.Registry.MustRegister(p.ledger)
	tree := p.ledger.supervisor("edge", func(s suture.Service) suture.Service { return s }, role{live})
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	p.expect("before the start", 0, 0)
	p.ended = tree.ServeBackground(ctx)
	synctest.Wait()
	return p
}

// series reads one metric off the registry by its name and its labels' values.
func (p *troupe) series(name string, labels ...string) float64 {
	p.t.Helper()
	families, err := p.metrics.Registry.Gather()
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
	if v := p.ledger.view()[0]; v.Up != (up == 1) || v.UpSeconds != int64(uptime.Seconds()) {
		p.t.Errorf("%s: /debug/tree shows %+v", when, v)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

var errNoLuck = errors.New("no luck")

// Five quick failures are forgiven; then there is a pause of one and a half
// seconds at the most, and then the same again.
func TestBackoffInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives := 0
		p := perform(t, func(context.Context) error { lives++; return errNoLuck })
		for pause := 1; pause <= 3; pause++ {
			if lives != pause*(failureThreshold+1) {
				t.Fatalf("pause %d comes after %d lives", pause, lives)
			}
			if v := p.ledger.view()[0]; p.series("supervisor_backoff", "edge") != 1 || !v.BackingOff || v.Restarts != lives {
				t.Errorf("pause %d: /debug/tree shows %+v", pause, v)
			}
			if n := p.log.count("supervisor_resume"); n != pause-1 {
				t.Errorf("pause %d: %d resumptions are logged", pause, n)
			}
			pass(failureBackoff * 3 / 2)
		}
		if got := p.series("supervisor_restarts_total", byError, "role"); got != float64(lives) {
			t.Errorf("%v restarts are counted, there were %d", got, lives)
		}
		p.cancel()
		<-p.ended
	})
}

func TestUptime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan error)
		p := perform(t, func(ctx context.Context) error {
			select {
			case err := <-fail:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
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
