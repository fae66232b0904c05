package tailnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const up, down = messages.LinkConnected, messages.LinkNotConnected

func TestCadence(t *testing.T) {
	for _, tc := range []struct {
		name     string
		interval time.Duration
		st       *ipnstate.Status
		err      error
		want     int // polls in ten seconds
	}{
		{"connected: twice per interval", 2 * time.Second, running(), nil, 10},
		{"connected, long interval", 10 * time.Second, running(), nil, 2},
		{"lost: each second", 10 * time.Second, nil, syscall.ENOENT, 10},
		{"lost, short interval", time.Second, nil, syscall.ENOENT, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			watch(t, Config{PollInterval: tc.interval}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
				src.set(tc.st, tc.err)
				time.Sleep(tc.interval) // until the change has been seen
				synctest.Wait()
				src.takePolls()
				_, before := got.get()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				_, after := got.get()
				if polls := len(src.takePolls()); polls != tc.want || after-before != tc.want {
					t.Errorf("%d polls and %d facts in 10 s, want %d", polls, after-before, tc.want)
				}
			})
		})
	}
}

func TestHungDaemonIsLostWithinThePromise(t *testing.T) {
	watch(t, Config{}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
		got.want(t, "at first", up, "")
		// The worst moment to hang is right after an answer.
		time.Sleep(10 * time.Second)
		for src.takePolls(); len(src.takePolls()) == 0; {
			time.Sleep(time.Millisecond)
		}
		hung := make(chan struct{})
		src.setFunc(func(ctx context.Context) (*ipnstate.Status, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-hung:
				return running(), nil
			}
		})
		time.Sleep(2*time.Second + 150*time.Millisecond)
		got.want(t, "an answer may still come", up, "")
		time.Sleep(100 * time.Millisecond)
		got.want(t, "past one interval and 250 ms", down, messages.ReasonTimeout)
		close(hung)
		time.Sleep(minGap)
		got.want(t, "it goes on", up, "")
	})
}

func TestBusWakesThePoll(t *testing.T) {
	watch(t, Config{PollInterval: time.Minute}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
		got.want(t, "at first", up, "")
		time.Sleep(10 * time.Second)

		src.set(running(state("Stopped")), nil)
		src.bus <- nil
		got.want(t, "stopped", down, messages.ReasonStopped)

		// An announcement may be early: the status follows 60 ms later.
		time.Sleep(3 * time.Second)
		src.bus <- nil
		time.Sleep(60 * time.Millisecond)
		src.set(running(), nil)
		time.Sleep(100 * time.Millisecond)
		got.want(t, "seen by a follow-up", up, "")

		src.takePolls()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if n := len(src.takePolls()); n > 2 {
			t.Errorf("%d polls after the follow-ups, want them bounded", n)
		}
	})
}

func TestFloodOnTheBusDoesNotFloodTailscaled(t *testing.T) {
	watch(t, Config{}, func(src *fakeSource, _ *facts, _ *bytes.Buffer) {
		src.takePolls()
		for range 10_000 {
			src.bus <- nil
			time.Sleep(100 * time.Microsecond)
		}
		synctest.Wait()
		if n := len(src.takePolls()); n > 21 || n < 15 {
			t.Errorf("%d polls in a second of notifications, want about one per %v", n, minGap)
		}
	})
}

func TestDeathAndRebirthAreSeenAtOnce(t *testing.T) {
	watch(t, Config{PollInterval: time.Minute}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
		src.bus <- nil
		for round := range 5 {
			time.Sleep(10 * time.Second)
			src.set(nil, syscall.ECONNREFUSED)
			src.breakBus()
			got.want(t, "killed", down, messages.ReasonRefused)
			time.Sleep(time.Duration(round) * 1300 * time.Millisecond)
			src.set(running(), nil)
			src.openBus()
			time.Sleep(busRetryMax)
			select {
			case src.bus <- nil:
			default:
				t.Fatal("the bus was not reopened in time")
			}
			got.want(t, "back", up, "")
		}
	})
}

func TestOurOwnStallIsNotTailscaleds(t *testing.T) {
	watch(t, Config{}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
		stalled := false
		src.setFunc(func(context.Context) (*ipnstate.Status, error) {
			if !stalled {
				stalled = true
				time.Sleep(3 * time.Second) // the deadline passes unnoticed meanwhile
				return nil, context.DeadlineExceeded
			}
			return running(), nil
		})
		for range 100 {
			time.Sleep(50 * time.Millisecond)
			got.want(t, "at every moment", up, "")
		}
		if !stalled {
			t.Error("nothing stalled")
		}
	})
}

// Good news that came before a stall is old, whatever it says.
func TestNewsFromBeforeAStallIsNotReported(t *testing.T) {
	watch(t, Config{}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
		stalled := false
		src.setFunc(func(context.Context) (*ipnstate.Status, error) {
			if stalled {
				return running(state("Stopped")), nil
			}
			stalled = true
			time.Sleep(9 * time.Second)
			return running(), nil
		})
		time.Sleep(time.Second)
		_, before := got.get()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if _, after := got.get(); after == before {
			t.Fatal("nothing was reported after the stall")
		}
		got.want(t, "after the stall", down, messages.ReasonStopped)
	})
}

// A peer that did not answer while we stood still has not missed a ping.
func TestAStallIsNoMissedPing(t *testing.T) {
	cfg := Config{ReachabilityPeer: "ai", PingInterval: time.Minute}
	watch(t, cfg, func(src *fakeSource, got *facts, log *bytes.Buffer) {
		src.setPingFunc(func(context.Context) error {
			time.Sleep(maxPing + time.Second) // nothing waits for so long
			return context.DeadlineExceeded
		})
		time.Sleep(10 * time.Minute)
		got.want(t, "after ten stalls", up, "")
		if n := strings.Count(log.String(), "tailnet_ping_missed"); n != 0 {
			t.Errorf("%d misses in the log", n)
		}
	})
}

func TestTheNameThatClientsUse(t *testing.T) {
	named := func(name string) *ipnstate.Status {
		return running(func(st *ipnstate.Status) { st.Self.DNSName = name })
	}
	for _, tc := range []struct {
		name, expected string
		names          []string // one after the other
		detail         string   // a part of the last one's; empty: no warning
	}{
		{"as expected", "Anthropic-OAuth-Proxy", []string{"anthropic-oauth-proxy.tail-scale.ts.net."}, ""},
		{"renamed", "anthropic-oauth-proxy", []string{"anthropic-oauth-proxy-1.tail-scale.ts.net."}, "the node is named anthropic-oauth-proxy-1, clients expect anthropic-oauth-proxy"},
		{"and back", "proxy", []string{"proxy-1.tail-scale.ts.net.", "proxy.tail-scale.ts.net."}, ""},
		{"nobody expects a name", "", []string{"whatever.tail-scale.ts.net."}, ""},
		{"another domain", "proxy", []string{"proxy.tail-scale.ts.net.", "proxy.b.ts.net."}, "its domain is b.ts.net, clients expect tail-scale.ts.net"},
		{"another domain, no name expected", "", []string{"proxy.tail-scale.ts.net.", "proxy.b.ts.net."}, "its domain is b.ts.net"},
		{"the domain is back", "proxy", []string{"proxy.tail-scale.ts.net.", "proxy.b.ts.net.", "proxy.tail-scale.ts.net."}, ""},
		{"no MagicDNS name", "pod-7f9c", []string{""}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			watch(t, Config{Hostname: tc.expected}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
				for _, name := range tc.names {
					src.set(named(name), nil)
					time.Sleep(2 * time.Second)
				}
				status, _ := got.get()
				var want []messages.Impairment
				if tc.detail != "" {
					want = []messages.Impairment{messages.ImpairedNameDiffers}
				}
				got.want(t, "at the end", up, "", want...)
				if !strings.Contains(status.Detail, tc.detail) {
					t.Errorf("detail %q, want %q in it", status.Detail, tc.detail)
				}
			})
		})
	}
}

func TestOneRefusalOfTheSocketIsNotBelieved(t *testing.T) {
	for _, tc := range []struct {
		name   string
		denied int // how many polls in a row are refused
		want   messages.Reason
	}{
		{"a socket just made", 1, messages.ReasonNone},
		{"a socket without permission", 1000, messages.ReasonPermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			watch(t, Config{}, func(src *fakeSource, got *facts, _ *bytes.Buffer) {
				left := tc.denied
				src.setFunc(func(context.Context) (*ipnstate.Status, error) {
					if left--; left >= 0 {
						return nil, syscall.EACCES
					}
					return running(), nil
				})
				_, before := got.get()
				time.Sleep(time.Second + socketGrace)
				synctest.Wait()
				status, after := got.get()
				if status.Reason != tc.want || after == before {
					t.Errorf("got %q after %d facts, want %q", status.Reason, after-before, tc.want)
				}
			})
		})
	}
}

func TestReachability(t *testing.T) {
	cfg := Config{ReachabilityPeer: "ai", PingInterval: time.Minute}
	watch(t, cfg, func(src *fakeSource, got *facts, log *bytes.Buffer) {
		time.Sleep(90 * time.Second)
		got.want(t, "the peer answers", up, "")
		src.setPing(errors.New("no reply"))
		time.Sleep(2 * time.Minute)
		got.want(t, "two misses", up, "")
		time.Sleep(time.Minute)
		got.want(t, "three misses", up, "", messages.ImpairedUnreachable)
		if status, _ := got.get(); status.Detail != "ai does not answer pings" {
			t.Errorf("detail %q does not name the peer", status.Detail)
		}
		if n := strings.Count(log.String(), "tailnet_ping_missed"); n != 3 {
			t.Errorf("%d misses in the log, want 3:\n%s", n, log)
		}
		src.setPing(nil)
		time.Sleep(time.Minute)
		got.want(t, "one answer", up, "")

		src.set(running(state("Stopped")), nil)
		time.Sleep(time.Minute)
		before := src.pings.Load()
		time.Sleep(5 * time.Minute)
		if n := src.pings.Load() - before; n != 0 {
			t.Errorf("%d pings while not connected", n)
		}
	})
}

func TestNoPeerNoPing(t *testing.T) {
	watch(t, Config{PingInterval: time.Second}, func(src *fakeSource, _ *facts, _ *bytes.Buffer) {
		time.Sleep(time.Minute)
		if n := src.pings.Load(); n != 0 {
			t.Errorf("%d pings without a configured peer", n)
		}
	})
}

// A helper's panic is Serve's panic, with the stack of where it happened.
func TestAHelpersPanicIsAPanic(t *testing.T) {
	for name, panicky := range map[string]func(*fakeSource) Source{
		"bus watcher":       func(f *fakeSource) Source { return panickyBus{f} },
		"reachability ping": func(f *fakeSource) Source { return panickyPing{f} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := New(&facts{}, panicky(newFake()), Config{PollInterval: time.Second, ReachabilityPeer: "ai", PingInterval: time.Minute}, zerolog.Nop())
				defer func() {
					said := fmt.Sprint(recover())
					for _, part := range []string{name + ": poison\n\ngoroutine ", "blowUp("} {
						if !strings.Contains(said, part) {
							t.Errorf("the panic lacks %q: %s", part, said)
						}
					}
				}()
				t.Errorf("Serve returned %v", a.Serve(t.Context()))
			})
		})
	}
}

//go:noinline
func blowUp() { panic("poison") }

type panickyBus struct{ *fakeSource }

func (panickyBus) Watch(context.Context, func(Warnings)) error { blowUp(); return nil }

type panickyPing struct{ *fakeSource }

func (panickyPing) Ping(context.Context, string) error { blowUp(); return nil }

func TestServeAgainAfterAPanicInAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, got := newFake(), &facts{}
		a := New(got, src, Config{PollInterval: time.Second}, zerolog.Nop())
		src.setFunc(func(context.Context) (*ipnstate.Status, error) { panic("poison") })
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the supervisor")
				}
			}()
			_ = a.Serve(t.Context())
		}()
		src.set(running(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Serve(ctx) }()
		got.want(t, "served again", up, "")
		cancel()
		<-done
	})
}
