package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/actors/drain"
	"anthropic-oauth-proxy/messages"
)

// A drain that dies in each life leaves no door open, ends what is left at its
// deadline, and is no success.
func TestADrainThatCannotLive(t *testing.T) {
	api := newTicker(t, 10*time.Millisecond)
	m, replace := moodyActor("drain")
	s := start(t, setting{upstream: api.URL, replace: replace, proxy: "drain_timeout_secs = 0.5"})
	ends := s.watchers(4)
	m.bad.Store(true)
	s.actors["drain"].fail(byPanic)
	s.shutdown("terminated")
	s.eventually("the door is closed", s.knocksInVain)
	for i, event := range ends() {
		if !strings.HasPrefix(event, "broken: ") {
			t.Errorf("stream %d ended with %q", i, event)
		}
	}
	if exit := s.ends(); exit.Code != 1 || !strings.Contains(exit.Message, "did not report") || !strings.Contains(exit.Message, "service drain") {
		t.Errorf("ended with %+v", exit)
	}
	if !strings.Contains(s.log.String(), `"event":"drain","stage":"deadline","streams":4`) {
		t.Error("the log does not tell how many streams were ended")
	}
}

// A drain that restarts after it has cut streams still says how many.
func TestADrainThatRestartsKeepsCount(t *testing.T) {
	api := newTicker(t, 10*time.Millisecond)
	m, replace := moodyActor("drain")
	s := start(t, setting{upstream: api.URL, replace: replace, proxy: "drain_timeout_secs = 0"})
	ends := s.watchers(3)
	m.bad.Store(true)
	s.actors["drain"].fail(byPanic)
	s.shutdown("terminated")
	ends()
	m.bad.Store(false)
	if exit := s.ends(); exit.Code != 0 || !strings.Contains(exit.Message, "ended 3 of the requests") {
		t.Errorf("ended with %+v", exit)
	}
}

// A handler that is blocked in a write to its client does not outlive the
// deadline.
func TestABlockedWriteDoesNotOutliveTheDeadline(t *testing.T) {
	done := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				close(done)
				return
			}
		}
	}))
	defer api.Close()
	s := start(t, setting{upstream: api.URL, proxy: "drain_timeout_secs = 0.5"})
	c, err := net.Dial("tcp", s.edge)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\n{}")
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil { // and not a byte more
		t.Fatal(err)
	}
	s.shutdown("terminated")
	exit := s.ends()
	if exit.Code != 0 || !strings.Contains(exit.Message, "ended 1 of the requests") {
		t.Errorf("ended with %+v", exit)
	}
	if strings.Contains(s.log.String(), `"stage":"stuck"`) {
		t.Error("the drain waited for a request that was blocked")
	}
	<-done
}

// The door follows the wish, whoever is alive.
func TestTheDoorNeedsNoActor(t *testing.T) {
	nobody := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	s := build(t, setting{replace: func(s suture.Service) suture.Service {
		if name := s.(interface{ String() string }).String(); name != "metrics" {
			return impostor{name, nobody}
		}
		return s
	}})
	addr, err := s.system.edge.Bind()
	if err != nil {
		t.Fatal(err)
	}
	s.edge = addr.String()
	s.run()
	s.system.desired.Store(messages.Desired{Drain: true, DrainBy: time.Now().Add(time.Hour)})
	s.eventually("the door is closed", s.knocksInVain)
	if !s.system.gate.Closed() {
		t.Error("the gate is open behind a closed door")
	}
}

// Every clock of the end, against those who wait for it.
func TestTheClocksOfTheEnd(t *testing.T) {
	number := func(file, key string) time.Duration {
		t.Helper()
		m := regexp.MustCompile(`(?m)^ *` + key + `[ =:]+([0-9.]+)`).FindStringSubmatch(read(t, file))
		if m == nil {
			t.Fatalf("%s has no %s", file, key)
		}
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(seconds * float64(time.Second))
	}
	drainTimeout := number("../k8s/base/config.toml", "drain_timeout_secs")
	grace := number("../k8s/base/statefulset.yaml", "terminationGracePeriodSeconds")
	if longest := DeliveryPatience + drainTimeout + drainGrace + Takedown; longest > grace {
		t.Errorf("an end may take %v and is killed after %v", longest, grace)
	}
	if drain.FlushTime <= cutPatience || drain.FlushTime >= drainGrace {
		t.Errorf("the drain actor waits %v for requests that are cut after %v, the lifecycle %v for its report", drain.FlushTime, cutPatience, drainGrace)
	}
	if longestControlPause >= DeliveryPatience || longestControlPause >= silentLooks*lookEvery {
		t.Errorf("the conductor may pause for %v, a signal waits %v and the watchdog %v", longestControlPause, DeliveryPatience, silentLooks*lookEvery)
	}
}
