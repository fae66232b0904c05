package tailnet

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// A fault is one row of the matrix: a tailnet breaks and is healed.
type fault struct {
	name string
	// relayOnly forbids the direct path between caller and sidecar.
	relayOnly bool
	inject    func(context.Context, *lab.Lab) error
	// heal mends it and returns when tailscaled itself knew.
	heal func(context.Context, *lab.Lab) (time.Time, error)
	// reasons are what health may say; none means that it stays connected.
	reasons []string
	// impaired is the warning that a connected one must show, if any.
	impaired string
	// known is when tailscaled itself shows it in its status; nil means at
	// once.
	known func(*ipnstate.Status) bool
	// seen and back are the promises: how much later than tailscaled health
	// may be.
	seen, back time.Duration
	// reachable is the truth about peers.
	reachable bool
	// excused rows may say "connected" though peers cannot reach us: nothing
	// local knows.
	excused bool
}

const (
	announced = slack                // the bus says so
	polled    = pollInterval + slack // the status shows it
)

var faults = []fault{
	{name: "killed", inject: signal(syscall.SIGKILL), heal: restart,
		reasons: []string{"connection_refused"}, seen: announced, back: announced},
	{name: "terminated", inject: signal(syscall.SIGTERM), heal: restart,
		reasons: []string{"socket_absent", "connection_refused", "poll_failed"}, seen: announced, back: announced},
	{name: "hung", inject: signal(syscall.SIGSTOP), heal: resume,
		reasons: []string{"timeout"}, seen: polled, back: polled},
	{name: "control cut", inject: cutControl, heal: openControl, known: offline,
		impaired: "control_offline", seen: polled, back: polled, reachable: true},
	{name: "tailscale down", inject: want(false), heal: wantUp,
		reasons: []string{"stopped"}, seen: announced, back: announced},
	{name: "tailscale logout", inject: logout, heal: login,
		reasons: []string{"needs_login", "no_state", "stopped"}, seen: announced, back: announced},
	{name: "node key expired", inject: expire, heal: unexpire,
		reasons: []string{"key_expired"}, seen: announced, back: announced},
	{name: "node deleted, stream closed", inject: deleteAndCut, heal: undelete, known: offline,
		impaired: "control_offline", seen: polled, back: polled, excused: true},
	{name: "node deleted, stream open", inject: deleteNode(true), heal: undelete,
		back: polled, excused: true},
	{name: "relay gone, direct path up", inject: cutRelay, heal: openRelay, known: warns("relay server"),
		impaired: "no_derp", seen: polled, back: polled, reachable: true},
	{name: "relay gone, relay only", relayOnly: true, inject: cutRelay, heal: openRelay, known: warns("relay server"),
		impaired: "no_derp", seen: polled, back: polled, excused: true},
	{name: "restarted without control", inject: restartAlone, heal: openAndRun,
		reasons: []string{"no_state", "starting", "connection_refused"}, seen: announced, back: announced},
	{name: "machine approval withdrawn", inject: approve(false), heal: approveAgain,
		reasons: []string{"needs_machine_auth"}, seen: announced, back: announced},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) { f.run(t, i, time.Minute) })
	}
}

// Control that hangs shows after two minutes, so this row has a test of its
// own, beside the others.
func TestFaultControlHung(t *testing.T) {
	t.Parallel()
	f := fault{name: "control hung", inject: hangControl, heal: openControl, known: offline,
		impaired: "control_offline", seen: polled, back: polled, reachable: true}
	f.run(t, len(faults), 170*time.Second)
}

// attempts is how often a row may be late before it is the service's fault and
// not that of a machine that is busy with something else. What is wrong, and
// not merely late, fails at once.
const attempts = 3

func (f fault) run(t *testing.T, order int, limit time.Duration) {
	for attempt := 1; ; attempt++ {
		ctx, l := start(t, limit, lab.Options{RelayOnly: f.relayOnly})
		late := f.try(t, ctx, l, order)
		switch {
		case late == "":
			return
		case attempt == attempts:
			t.Fatalf("late %d times in a row: %s", attempts, late)
		}
		t.Logf("late, trying again: %s", late)
	}
}

// try breaks and heals one lab, and says what came too late, if anything did.
func (f fault) try(t *testing.T, ctx context.Context, l *lab.Lab, order int) (late string) {
	awaitReachable(t, ctx, l)
	watch := observe(ctx, l)
	defer watch.stop()

	injected := time.Now()
	if err := f.inject(ctx, l); err != nil {
		t.Fatalf("inject: %v", err)
	}
	known := injected
	if f.known != nil {
		var err error
		if known, err = l.Sidecar.AwaitStatus(ctx, f.known); err != nil {
			t.Fatalf("after the fault: %v", err)
		}
	}
	h, at, err := l.Proxy.AwaitHealth(within(t, ctx, f.seen+10*time.Second), f.shows)
	if err != nil {
		t.Fatalf("after the fault: %v\n%s", err, watch)
	}
	seen := at.Sub(known)
	if f.seen > 0 && seen > f.seen {
		late += fmt.Sprintf("seen after %v, promised %v\n%s", seen, f.seen, watch)
	}
	f.checkTruth(t, ctx, l, h)
	f.checkPages(t, ctx, l)
	if f.reasons == nil && watch.wasLost() {
		late += fmt.Sprintf("tailscaled's answers, so that health said not connected while traffic flowed\n%s", watch)
	}

	healed, err := f.heal(ctx, l)
	if err != nil {
		t.Fatalf("heal: %v\n%s", err, watch)
	}
	_, at, err = l.Proxy.AwaitHealth(within(t, ctx, f.back+10*time.Second), func(h lab.Health) bool {
		return h.Connected() && (f.impaired == "" || !slices.Contains(h.Impaired, f.impaired))
	})
	if err != nil {
		t.Fatalf("after the cure: %v\n%s", err, watch)
	}
	back := at.Sub(healed)
	if back > f.back {
		late += fmt.Sprintf("back after %v, promised %v\n%s", back, f.back, watch)
	}
	awaitReachable(t, ctx, l)
	if late == "" {
		f.report(order, h, known.Sub(injected), seen, back)
	}
	return late
}

// awaitReachable waits for the path: a first packet may be lost before both
// sides know each other, and WireGuard asks again after five seconds.
func awaitReachable(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	await(t, within(t, ctx, 20*time.Second), "the way through the tailnet", func() bool {
		return l.Reachable(ctx, 2*time.Second) == nil
	})
}

// shows reports whether health says what this row promises.
func (f fault) shows(h lab.Health) bool {
	switch {
	case f.reasons != nil:
		return h.Code == http.StatusServiceUnavailable && h.Tailnet == "not_connected" && slices.Contains(f.reasons, h.Reason)
	case f.impaired != "":
		return h.Connected() && slices.Contains(h.Impaired, f.impaired)
	default:
		return h.Connected()
	}
}

// checkTruth compares what health says with what a peer finds.
func (f fault) checkTruth(t *testing.T, ctx context.Context, l *lab.Lab, h lab.Health) {
	t.Helper()
	patience := time.Second // an unreachable one costs all of it
	if f.reachable {
		patience = 10 * time.Second
	}
	err := l.Reachable(ctx, patience)
	if reached := err == nil; reached != f.reachable {
		t.Errorf("a peer reached us: %v (%v), expected %v", reached, err, f.reachable)
	}
	if h.Connected() != f.reachable && !f.excused {
		t.Errorf("health says connected %v, a peer reaches us: %v", h.Connected(), f.reachable)
	}
}

// checkPages wants the same story from every page and the log.
func (f fault) checkPages(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	ready, connected, phase := http.StatusOK, 1.0, "running"
	if f.reasons != nil {
		ready, connected, phase = http.StatusServiceUnavailable, 0, "degraded"
	}
	if code, _, err := l.Proxy.Admin(ctx, "/readyz"); err != nil || code != ready {
		t.Errorf("/readyz says %d (%v), want %d", code, err, ready)
	}
	if code, _, err := l.Proxy.Admin(ctx, "/livez"); err != nil || code != http.StatusOK {
		t.Errorf("/livez says %d (%v): the tailnet is not its business", code, err)
	}
	wantMetric(t, ctx, l, "tailnet_connected", connected)
	wantMetric(t, ctx, l, fmt.Sprintf("lifecycle_state{state=%q}", phase), 1)
	word := f.impaired
	if word != "" {
		wantMetric(t, ctx, l, fmt.Sprintf("tailnet_impaired{reason=%q}", word), 1)
	} else if f.reasons != nil {
		word = "not_connected"
	}
	awaitLog(t, ctx, l, word)
}

func wantMetric(t *testing.T, ctx context.Context, l *lab.Lab, sample string, want float64) {
	t.Helper()
	if got, ok := l.Proxy.Metric(ctx, sample); !ok || got != want {
		t.Errorf("metric %s is %v (found %v), want %v", sample, got, ok, want)
	}
}

func (f fault) report(order int, h lab.Health, known, seen, back time.Duration) {
	says := h.Tailnet
	if h.Reason != "" {
		says += ", " + h.Reason
	}
	if len(h.Impaired) > 0 {
		says += ", " + strings.Join(h.Impaired, "+")
	}
	if f.known == nil {
		known = 0
	}
	reach := map[bool]string{true: "yes", false: "no"}[f.reachable]
	results.add(f.name, row{order: order, says: says, reach: reach, known: known, seen: seen, back: back})
}

func within(t *testing.T, ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, d)
	t.Cleanup(cancel)
	return ctx
}
