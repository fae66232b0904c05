package conductor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

func TestPhaseLines(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on)
		s.pass(1500 * time.Millisecond)
		s.send(up())
		s.send(ready)
		s.pass(2 * time.Second)
		s.send(down(messages.ReasonRefused))
		s.send(sigterm)
		s.send(messages.DrainFinished{Cut: 3})
		s.send(sigterm)
		s.pass(time.Minute)

		var got []string
		for _, l := range s.lines(eventLifecycle) {
			got = append(got, fmt.Sprint(l["level"], " ", l[fieldFrom], ">", l[fieldTo], " ", l[fieldReason], " ", l[fieldInPhaseMS], " ", l[fieldExitCode]))
		}
		want := []string{
			"info initializing>connecting_tailnet config_loaded 0 <nil>",
			"info connecting_tailnet>starting tailnet_connected 1500 <nil>",
			"info starting>running listener_ready 0 <nil>",
			"warn running>degraded tailnet_lost 2000 <nil>",
			"info degraded>draining shutdown_requested 0 <nil>",
			"info draining>stopped drained 0 0",
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestExitLineOfAFailure(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, down(messages.ReasonNeedsApproval))
		lines := s.lines(eventLifecycle)
		last := lines[len(lines)-1]
		if last["level"] != "error" || last[fieldExitCode] != 1.0 || last["message"] != s.state.Get().Exit.Message {
			t.Errorf("the last line is %v, the exit %+v", last, s.state.Get().Exit)
		}
	})
}

func TestWaitingLines(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on)
		s.send(down(messages.ReasonSocketAbsent))
		for range 60 * 4 { // four looks a second, with wording that never repeats
			s.pass(tickEvery)
			o := down(messages.ReasonNeedsLogin)
			o.Status.Detail = o.Status.At.String()
			s.send(o)
		}
		var got []string
		for _, l := range s.lines(eventWaiting) {
			got = append(got, fmt.Sprint(l[fieldWaitedMS], " ", l[fieldReason]))
			if l[fieldBudgetMS] != 60000.0 || l[fieldRemedy] != messages.Reason(l[fieldReason].(string)).Remedy() || l[fieldDetail] == "" {
				t.Errorf("a waiting line lacks budget, remedy or detail: %v", l)
			}
		}
		want := []string{
			"0 socket_absent", "250 needs_login",
			"1000 needs_login", "2000 needs_login", "4000 needs_login", "8000 needs_login", "16000 needs_login", "32000 needs_login",
		}
		if !slices.Equal(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
	})
}

func TestTailnetLines(t *testing.T) {
	impaired := func() messages.TailnetObserved {
		o := up()
		o.Status.Impaired = []messages.Impairment{messages.ImpairedControlOffline, messages.ImpairedNoDERP}
		return o
	}
	moved := func() messages.TailnetObserved {
		o := up()
		o.Status.IP = "100.64.0.9"
		return o
	}
	play(t, func(s *stage) {
		for i, c := range []struct {
			name  string
			event messages.Event
			want  string // of the tailnet line, if there is one
		}{
			{"configuration", on, ""},
			{"waiting has lines of its own", down(messages.ReasonStarting), ""},
			{"gained", up(), "info connected  [] proxy 100.64.0.1"},
			{"the same again", up(), ""},
			{"impaired", impaired(), "warn connected  [control_offline no_derp] proxy 100.64.0.1"},
			{"the same again", impaired(), ""},
			{"healthy again", up(), "info connected  [] proxy 100.64.0.1"},
			{"another address", moved(), "info connected  [] proxy 100.64.0.9"},
			{"lost", down(messages.ReasonTimeout), "warn not_connected timeout []  "},
			{"the same again", down(messages.ReasonTimeout), ""},
			{"another reason", down(messages.ReasonRefused), "warn not_connected connection_refused []  "},
		} {
			s.send(c.event)
			var got []string
			for _, l := range s.lines(eventTailnet) {
				got = append(got, fmt.Sprint(l["level"], " ", l[fieldLink], " ", l[fieldReason], " ", l[fieldImpaired], " ", l[fieldHostname], " ", l[fieldIP]))
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("%d %s: logged %q, want %q", i, c.name, got, c.want)
			}
		}
		s.pass(7 * time.Second)
		if lines := s.lines(""); len(lines) != 1 || lines[0][fieldReason] != string(messages.ReasonStale) {
			t.Errorf("silence: logged %v, want one line about stale", lines)
		}
	})
}

func TestHostnameWarnings(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on)
		for i, c := range []struct {
			hostname string
			want     int
		}{
			{"proxy", 0}, {"Proxy", 0}, {"proxy-1", 1}, {"proxy-1", 0}, {"", 0}, {"proxy-1", 0}, {"proxy-2", 1}, {"proxy", 0}, {"proxy-2", 1},
		} {
			s.send(named(c.hostname))
			lines := s.lines(eventHostname)
			if len(lines) != c.want {
				t.Errorf("%d %q: %d warnings, want %d", i, c.hostname, len(lines), c.want)
			}
			for _, l := range lines {
				if l["level"] != "warn" || l[fieldHostname] != c.hostname || l[fieldExpected] != "proxy" {
					t.Errorf("%d %q: warned %v", i, c.hostname, l)
				}
			}
		}
	})
}

func named(hostname string) messages.TailnetObserved {
	o := up()
	o.Status.Hostname, o.Status.DNSName = hostname, hostname+".lab.ts.net"
	if hostname != "" && !strings.EqualFold(hostname, "proxy") {
		o.Status.Impaired = []messages.Impairment{messages.ImpairedNameDiffers}
	}
	return o
}

// What stays wrong is told again each hour; what is well is not.
func TestWhatStaysWrongIsToldAgain(t *testing.T) {
	for _, c := range []struct {
		name              string
		event             func() messages.Event
		tailnet, hostname int
	}{
		{"a wrong name", func() messages.Event { return named("proxy-1") }, 2, 2},
		{"not connected", func() messages.Event { return down(messages.ReasonStopped) }, 2, 0},
		{"all is well", func() messages.Event { return up() }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.send(on, up(), ready, c.event())
				s.lines("")
				for range 2 * 60 * 60 {
					s.pass(time.Second)
					s.send(c.event())
				}
				var tailnet, hostname int
				for _, l := range s.lines("") {
					switch l[fieldEvent] {
					case eventTailnet:
						tailnet++
					case eventHostname:
						hostname++
					}
				}
				if tailnet != c.tailnet || hostname != c.hostname {
					t.Errorf("in two hours %d lines about the tailnet and %d about the name, want %d and %d", tailnet, hostname, c.tailnet, c.hostname)
				}
			})
		})
	}
}

// tailscaled names the cause a moment after the state, and counts in its words.
func TestACauseThatComesLaterIsTold(t *testing.T) {
	because := func(detail string) messages.TailnetObserved {
		o := down(messages.ReasonNeedsLogin)
		o.Status.Detail = detail
		return o
	}
	const bad = "You are logged out. The last login error was: invalid authkey"
	for _, c := range []struct {
		name   string
		before []messages.Event
		event  string // the lines to count
	}{
		{"while it serves", []messages.Event{on, up(), ready, because("")}, eventTailnet},
		{"while it waits for the start", []messages.Event{on, because("")}, eventWaiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.send(c.before...)
				s.lines("")
				for i, step := range []struct {
					detail string
					want   int
				}{
					{bad, 1}, {bad, 0}, {"", 0}, {bad, 0},
					{"no network map in 2m5s", 1}, {"no network map in 2m6.25s", 0}, {bad, 0},
				} {
					s.send(because(step.detail))
					if lines := s.lines(c.event); len(lines) != step.want {
						t.Errorf("%d %q: %d lines, want %d: %v", i, step.detail, len(lines), step.want, lines)
					}
				}
				for i := range 100 {
					s.send(because("cause " + strings.Repeat("x", i)))
				}
				if n := len(s.lines(c.event)); n > maxCauses {
					t.Errorf("100 causes of one state made %d lines", n)
				}
			})
		})
	}
}

// A tailnet that flaps every second for a minute: one line per change, of each
// kind.
func TestFlappingIsBounded(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		s.lines("")
		const changes = 60
		for i := range changes {
			ev := up()
			if i%2 == 0 {
				ev = down(messages.ReasonRefused)
			}
			s.send(ev)
			s.pass(time.Second)
		}
		count := map[any]int{}
		for _, l := range s.lines("") {
			count[l[fieldEvent]]++
		}
		if count[eventTailnet] != changes || count[eventLifecycle] != changes || len(count) != 2 {
			t.Errorf("%d changes made these lines: %v", changes, count)
		}
	})
}

// One that flaps as fast as the watcher looks must not fill the log; what it
// settles on is told all the same.
func TestFastFlappingIsToldOfNowAndThen(t *testing.T) {
	play(t, func(s *stage) {
		s.send(on, up(), ready)
		s.lines("")
		const changes, apart, seconds = 60 * 20, 50 * time.Millisecond, 60
		for i := range changes {
			ev := up()
			if i%2 == 0 {
				ev = down(messages.ReasonRefused)
			}
			s.send(ev)
			s.pass(apart)
		}
		s.send(down(messages.ReasonStopped))
		s.pass(2 * time.Second)
		lines := s.lines(eventTailnet)
		if n := len(lines); n < seconds || n > lineBurst+seconds+2 {
			t.Errorf("%d changes made %d lines", changes, n)
		}
		told := len(lines)
		for _, l := range lines {
			told += int(l[fieldUnlogged].(float64))
		}
		if told != changes+1 {
			t.Errorf("the lines tell of %d changes, there were %d", told, changes+1)
		}
		if last := lines[len(lines)-1]; last[fieldReason] != string(messages.ReasonStopped) {
			t.Errorf("the last word is %v", last)
		}
	})
}
