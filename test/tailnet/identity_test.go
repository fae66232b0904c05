package tailnet

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/test/sim"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

// An admin renames the node, or the whole tailnet: the service keeps running
// under the new name and warns, in every place, until the old one is back.
func TestANewNameIsTakenOver(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	node, err := l.Sidecar.Key(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []struct {
		name    string
		change  func()
		dnsName string
		detail  string // a part of it; empty: no warning
	}{
		{"as configured", func() {}, lab.Hostname + "." + lab.Domain, ""},
		{"renamed", func() { l.Control.Rename(node, lab.Hostname+"-1") }, lab.Hostname + "-1." + lab.Domain, "clients expect " + lab.Hostname},
		{"back", func() { l.Control.Rename(node, lab.Hostname) }, lab.Hostname + "." + lab.Domain, ""},
		{"another domain", func() { l.Control.Move(node, "moved.ts.net") }, lab.Hostname + ".moved.ts.net", "its domain is moved.ts.net, clients expect " + lab.Domain},
		{"back again", func() { l.Control.Rename(node, lab.Hostname) }, lab.Hostname + "." + lab.Domain, ""},
	} {
		phase.change()
		h, _, err := l.Proxy.AwaitHealth(within(t, ctx, pollInterval+slack+2*time.Second), func(h lab.Health) bool {
			return h.Connected() && h.DNSName == phase.dnsName && slices.Contains(h.Impaired, "name_differs") == (phase.detail != "")
		})
		if err != nil {
			t.Fatalf("%s: %v", phase.name, err)
		}
		if !strings.Contains(h.Detail, phase.detail) {
			t.Errorf("%s: health explains it as %q, want %q in it", phase.name, h.Detail, phase.detail)
		}
		differs := 0.0
		if phase.detail != "" {
			differs = 1
			awaitLog(t, ctx, l, phase.dnsName)
			awaitLog(t, ctx, l, "tailnet_hostname_differs")
		}
		wantMetric(t, ctx, l, "tailnet_name_differs", differs)
		wantMetric(t, ctx, l, `tailnet_impaired{reason="name_differs"}`, differs)
		url := "http://" + phase.dnsName + ":" + strconv.Itoa(l.Proxy.Port()) + "/health"
		await(t, within(t, ctx, 20*time.Second), phase.name+": an answer under the name "+phase.dnsName, func() bool {
			res, err := get(within(t, ctx, 2*time.Second), l, url)
			if err == nil {
				res.Body.Close()
			}
			return err == nil
		})
	}
}

// Another daemon takes the socket's path while the former one lives on, and
// would answer for ever on what is still open to it. The new one's word counts.
func TestAReplacedDaemonIsLeft(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	for range 2 {
		opens, _ := l.Proxy.Metric(ctx, "tailnet_bus_opens_total")
		if err := l.Sidecar.Supersede(); err != nil {
			t.Fatal(err)
		}
		answers, err := l.Sidecar.AwaitStatus(ctx, func(*ipnstate.Status) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		_, at, err := l.Proxy.AwaitHealth(within(t, ctx, pollInterval+slack+5*time.Second), func(h lab.Health) bool {
			return !h.Connected() && h.Reason == "needs_login"
		})
		if err != nil {
			t.Fatalf("the former daemon is still believed: %v", err)
		}
		if late := at.Sub(answers); late > pollInterval+slack {
			t.Errorf("the new daemon was found %v after it answered", late)
		}
		if err := l.Sidecar.Login(ctx, "lab"); err != nil {
			t.Fatal(err)
		}
		running, err := l.Sidecar.Await(ctx, ipn.Running)
		if err != nil {
			t.Fatal(err)
		}
		_, at, err = l.Proxy.AwaitHealth(within(t, ctx, pollInterval+slack+5*time.Second), lab.Health.Connected)
		if err != nil {
			t.Fatal(err)
		}
		if late := at.Sub(running); late > pollInterval/2+slack {
			t.Errorf("connected %v after the new daemon", late)
		}
		await(t, within(t, ctx, 10*time.Second), "a subscription to the new daemon", func() bool {
			now, _ := l.Proxy.Metric(ctx, "tailnet_bus_opens_total")
			return now > opens
		})
	}
}

// The date is where people look for it.
func TestTheKeysEndHasADate(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	node, err := l.Sidecar.Key(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	l.Control.ExpireAt(node, end)
	h, _, err := l.Proxy.AwaitHealth(within(t, ctx, pollInterval+slack+2*time.Second), func(h lab.Health) bool {
		return h.Connected() && slices.Contains(h.Impaired, "key_expiring")
	})
	if err != nil {
		t.Fatal(err)
	}
	if !h.KeyExpiry.Equal(end) || !strings.Contains(h.Detail, end.Format(time.RFC3339)) {
		t.Errorf("health names %v in %q, want %v", h.KeyExpiry, h.Detail, end)
	}
	awaitLog(t, ctx, l, "the node key expires at "+end.Format(time.RFC3339))
}

// Our own process stands still for nine seconds, in the middle of a stream: that
// is not the tailnet's fault, and nobody is told that it is.
func TestOurOwnStallIsNotTheTailnets(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	s := open(t, ctx, l, l.URL(""), sim.Plan{Name: "stalled", Deltas: 4})
	s.release(1)
	s.expect(t, 0)

	l.Proxy.Signal(syscall.SIGSTOP)
	time.Sleep(9 * time.Second)
	watch := observe(ctx, l)
	defer watch.stop()
	l.Proxy.Signal(syscall.SIGCONT)
	time.Sleep(6 * time.Second) // longer than any look may take

	if watch.wasLost() {
		t.Errorf("health blamed the tailnet for our own stall\n%s", watch)
	}
	for _, lie := range []string{`"to":"degraded"`, `"reason":"stale"`, `"link":"not_connected"`} {
		if strings.Contains(l.Proxy.Logs(), lie) {
			t.Errorf("the log says %s:\n%s", lie, tail(l.Proxy.Logs()))
		}
	}
	s.release(len(s.events) - 1)
	for i := 1; i < len(s.events); i++ {
		s.expect(t, i)
	}
	s.end(t)
}

// A node that somebody else shares with this tailnet is not meant by its short
// name.
func TestAStrangersNameIsNotOurs(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{})
	awaitReachable(t, ctx, l)
	src := source(t, l)
	if err := src.Ping(within(t, ctx, 5*time.Second), lab.CallerName); err != nil {
		t.Fatalf("ping the caller: %v", err)
	}
	l.Control.Move(l.Caller.Key(), "stranger.ts.net")
	stranger := lab.CallerName + ".stranger.ts.net"
	await(t, within(t, ctx, 20*time.Second), "the stranger's full name", func() bool {
		return src.Ping(within(t, ctx, 5*time.Second), stranger) == nil
	})
	err := src.Ping(within(t, ctx, 5*time.Second), lab.CallerName)
	if err == nil || !strings.Contains(err.Error(), "no peer is named "+lab.CallerName+"."+lab.Domain) {
		t.Errorf("a ping of %s says %v, though only a stranger has the name", lab.CallerName, err)
	}
}
