package supervisor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/thejerf/suture/v4"

	"anthropic-oauth-proxy/messages"
)

// moody is an actor that dies at the beginning of each life while it is bad.
type moody struct {
	suture.Service
	bad atomic.Bool
}

func (m *moody) String() string { return m.Service.(interface{ String() string }).String() }

func (m *moody) Serve(ctx context.Context) error {
	if m.bad.Load() {
		panic("boom")
	}
	return m.Service.Serve(ctx)
}

// moodyActor makes one actor of a service moody.
func moodyActor(name string) (*moody, func(suture.Service) suture.Service) {
	m := &moody{}
	return m, func(s suture.Service) suture.Service {
		if s.(interface{ String() string }).String() == name {
			m.Service = s
			return m
		}
		return s
	}
}

// A listener that dies in each life: nobody is told that the service is ready,
// health says what is wrong with us, and streams in flight go on.
func TestAListenerThatCannotLive(t *testing.T) {
	api := newTicker(t, 10*time.Millisecond)
	m, replace := moodyActor("listener")
	s := start(t, setting{upstream: api.URL, replace: replace})
	ends := s.watchers(2)
	s.eventually("our own port is seen to answer", func() bool { return s.metric("listener_serving") == 1 })

	m.bad.Store(true)
	s.actors["listener"].fail(byPanic)
	s.await(messages.Degraded)
	if code, body := s.page("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "listener_failing") {
		t.Errorf("/readyz with a dead listener: %d %s", code, body)
	}
	if code, body := s.page("/health"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"status":"degraded"`) ||
		!strings.Contains(body, `"trouble":"listener_failing","trouble_detail":"listener: panic: boom"`) {
		t.Errorf("/health with a dead listener: %d %s", code, body)
	}
	if v := s.tree()["listener"]; v.LastMinute <= failureThreshold || v.Causes[len(v.Causes)-1].Message != "boom" {
		t.Errorf("/debug/tree shows %+v", v)
	}
	if code, body := s.page("/debug/events"); code != http.StatusOK || !strings.Contains(body, `"kind":"edge_observed"`) {
		t.Errorf("/debug/events: %d %s", code, body)
	}

	m.bad.Store(false)
	s.await(messages.Running)
	if _, body := s.page("/health"); strings.Contains(body, `"trouble`) {
		t.Errorf("/health when it serves again: %s", body)
	}
	close(api.finish)
	for i, event := range ends() {
		if !strings.HasPrefix(event, "event: message_stop\n") {
			t.Errorf("stream %d ended with %q", i, event)
		}
	}
	if n := strings.Count(s.log.String(), `"cause":"boom","stack":`); n != 1 {
		t.Errorf("the stack of one cause is logged %d times", n)
	}
	s.eventually("the streams are on record", func() bool { return s.log.count("request") == 2 })
	if n := s.metric(`proxy_outcomes_total{outcome="completed"}`); n != 2 {
		t.Errorf("%v requests are counted: a look at our own port is none", n)
	}
}

// The listener is up, by its account; but whoever connects waits for ever.
func TestAPortThatDoesNotAnswer(t *testing.T) {
	var s *stage
	s = build(t, setting{replace: instead("listener", func(ctx context.Context) error {
		_, err := s.system.desired.Await(ctx, func(d messages.Desired) bool { return d.Listen })
		if err != nil {
			return err
		}
		addr, err := s.system.edge.Bind()
		if err != nil {
			return err
		}
		if err := s.system.events.Send(ctx, messages.ListenerReady{Addr: addr.String()}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})})
	s.run()
	s.await(messages.Degraded)
	state := s.system.state.Get()
	if state.Trouble != messages.TroubleNotAnswering || !strings.Contains(state.TroubleDetail, "no answer within") {
		t.Errorf("the trouble is %q: %q", state.Trouble, state.TroubleDetail)
	}
	if code, body := s.page("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "port_not_answering") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if v := s.metric("listener_serving"); v != 0 {
		t.Errorf("listener_serving is %v", v)
	}
}

// What one look makes of what it finds.
func TestALookAtThePort(t *testing.T) {
	answering := func(text string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		t.Cleanup(func() { ln.Close(); <-done })
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 256))
				_, _ = c.Write([]byte(text))
				c.Close()
			}
		}()
		return ln.Addr().String()
	}
	closed := answering("")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	ln.Close()
	for _, tc := range []struct {
		name, addr string
		trouble    messages.Trouble
		detail     string
	}{
		{"ready", answering("HTTP/1.1 200 OK\r\n\r\n"), messages.TroubleNone, ""},
		{"not ready is an answer", answering("HTTP/1.1 503 Service Unavailable\r\n\r\n"), messages.TroubleNone, ""},
		{"another protocol", answering("SSH-2.0-OpenSSH"), messages.TroubleNotAnswering, "our own port answers something else than HTTP"},
		{"hangs up", closed, messages.TroubleNotAnswering, "ask our own port: EOF"},
		{"refused", nobody, messages.TroubleNotAnswering, "connect to our own port: connect: connection refused"},
	} {
		if trouble, detail := knockAt(t.Context(), tc.addr); trouble != tc.trouble || detail != tc.detail {
			t.Errorf("%s: %q, %q; want %q, %q", tc.name, trouble, detail, tc.trouble, tc.detail)
		}
	}
	for err, want := range map[error]messages.Trouble{
		&net.OpError{Op: "dial", Err: syscall.EMFILE}: messages.TroubleDescriptors,
		&net.OpError{Op: "dial", Err: syscall.ENFILE}: messages.TroubleDescriptors,
		errors.New("another"):                         messages.TroubleNotAnswering,
	} {
		if got := blame(err); got != want {
			t.Errorf("%v is told as %s", err, got)
		}
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:80": "127.0.0.1:80", "[::]:80": "[::1]:80", "127.0.0.1:80": "127.0.0.1:80", "[fd7a::1]:80": "[fd7a::1]:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(addr); got != want {
			t.Errorf("%s is reached at %s, want %s", listen, got, want)
		}
	}
}

// The accounts of the listener and the looks at the port, together.
func TestEdgeStatus(t *testing.T) {
	now := time.Now()
	up := messages.ServiceAccount{Service: "listener", Up: true}
	down := messages.ServiceAccount{Service: "listener", Pauses: 1, Causes: []messages.Cause{{Kind: messages.CauseError, Message: "no luck"}}}
	storm := down
	storm.Pauses = 2
	look := func(fails int, age time.Duration) *portLook {
		l := &portLook{at: now.Add(-age), fails: fails}
		if fails > 0 {
			l.trouble, l.detail = messages.TroubleDescriptors, "none left"
		}
		return l
	}
	for _, tc := range []struct {
		name     string
		unwanted bool
		last     *portLook
		listener messages.ServiceAccount
		trouble  messages.Trouble
		detail   string
	}{
		{"no look yet", false, nil, up, "", ""},
		{"well", false, look(0, 0), up, "", ""},
		{"one look failed", false, look(1, 0), up, "", ""},
		{"two looks failed", false, look(2, 0), up, messages.TroubleDescriptors, "none left"},
		{"the looks are old", false, look(5, lookValid), up, "", ""},
		{"one stumble", false, look(0, 0), down, "", ""},
		{"down, and two looks failed", false, look(2, 0), down, messages.TroubleListenerFailing, "listener: error: no luck"},
		{"a storm", false, look(0, 0), storm, messages.TroubleListenerFailing, "listener: error: no luck"},
		{"a storm before any look", false, nil, storm, messages.TroubleListenerFailing, "listener: error: no luck"},
		{"nobody is meant to be served", true, look(9, 0), storm, "", ""},
	} {
		p := &portWatch{want: messages.NewLatest(messages.Desired{Listen: !tc.unwanted})}
		if tc.last != nil {
			p.last.Store(tc.last)
		}
		for _, active := range []int{0, 1} {
			want := messages.EdgeStatus{Trouble: tc.trouble, Detail: tc.detail, Idle: tc.trouble != "" && active == 0}
			if got := p.status(now, tc.listener, func() int { return active }); got != want {
				t.Errorf("%s with %d requests: %+v, want %+v", tc.name, active, got, want)
			}
		}
	}
}
