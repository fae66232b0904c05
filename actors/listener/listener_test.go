package listener

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errInUse = errors.New("bind: address already in use")
	errBroke = errors.New("accept: the socket broke")
)

// port is a socket that a test plays.
type port struct {
	bindErr error
	broken  chan struct{} // closed: Serve fails
	served  int
}

func (*port) Addr() string { return "127.0.0.1:8080" }

func (p *port) Bind() (net.Addr, error) {
	if p.bindErr != nil {
		return nil, fmt.Errorf("listen on %s: %w", p.Addr(), p.bindErr)
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, nil
}

func (p *port) Serve(ctx context.Context) error {
	p.served++
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.broken:
		return errBroke
	}
}

type stage struct {
	t      *testing.T
	port   *port
	want   *messages.Latest[messages.Desired]
	facts  *messages.Mailbox[messages.Event]
	log    bytes.Buffer
	actor  *Actor
	cancel context.CancelFunc
	done   chan error
}

func play(t *testing.T, room int, run func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{
			t: t, port: &port{broken: make(chan struct{})},
			want: messages.NewLatest(messages.Desired{}), facts: messages.NewMailbox[messages.Event](room),
		}
		s.actor = New(s.facts, s.want, s.port, zerolog.New(&s.log))
		run(s)
	})
}

func (s *stage) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.actor.Serve(ctx) }()
	synctest.Wait()
}

func (s *stage) ends(when string, want error) {
	s.t.Helper()
	s.cancel()
	if err := <-s.done; !errors.Is(err, want) {
		s.t.Errorf("%s: Serve returned %v, want %v", when, err, want)
	}
}

func (s *stage) wish(d messages.Desired) { s.want.Store(d); synctest.Wait() }

func (s *stage) expect(when string, served int, facts ...messages.Event) {
	s.t.Helper()
	var got []messages.Event
	for len(s.facts.Messages()) > 0 {
		got = append(got, <-s.facts.Messages())
	}
	if s.port.served != served || !slices.Equal(got, facts) {
		s.t.Errorf("%s: served %d times and reported %v, want %d times and %v", when, s.port.served, got, served, facts)
	}
}

var (
	listen = messages.Desired{Listen: true}
	ready  = messages.ListenerReady{Addr: "127.0.0.1:8080"}
)

func TestServesWhenThatIsDesired(t *testing.T) {
	play(t, 4, func(s *stage) {
		s.start()
		s.expect("before the wish", 0)
		s.wish(messages.Desired{Drain: true})
		s.expect("after another wish", 0)
		s.wish(listen)
		s.expect("after the wish", 1, ready)
		s.wish(messages.Desired{Listen: true, Ready: true})
		s.expect("after one more wish", 1)
		if log := s.log.String(); strings.Count(log, `"event":"listening","addr":"127.0.0.1:8080"`) != 1 {
			s.t.Errorf("logged %s", log)
		}
		s.ends("in the end", context.Canceled)
	})
}

// The cell still holds the wish after a restart, and the fact is told again:
// it may be what the crash lost.
func TestRestartReadsTheWishAgain(t *testing.T) {
	play(t, 4, func(s *stage) {
		s.wish(listen)
		for life := 1; life <= 3; life++ {
			s.start()
			s.expect(fmt.Sprint("in life ", life), life, ready)
			s.ends(fmt.Sprint("life ", life), context.Canceled)
		}
	})
}

func TestBindFailure(t *testing.T) {
	play(t, 4, func(s *stage) {
		s.port.bindErr = errInUse
		s.wish(listen)
		s.start()
		s.expect("a bind that fails", 0, messages.ListenerFailed{Addr: "127.0.0.1:8080", Err: errInUse.Error()})
		s.ends("a bind that fails", errInUse)
	})
}

func TestBrokenSocketEndsServe(t *testing.T) {
	play(t, 4, func(s *stage) {
		s.wish(listen)
		s.start()
		close(s.port.broken)
		s.expect("before it broke", 1, ready)
		synctest.Wait()
		s.ends("a broken socket", errBroke)
	})
}

func TestEndsWhileItWaits(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(*stage)
	}{
		{"for the wish", func(*stage) {}},
		{"for room in the mailbox", func(s *stage) { s.wish(listen) }},
		{"for room to report a failure", func(s *stage) { s.port.bindErr = errInUse; s.wish(listen) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, 0, func(s *stage) {
				tc.play(s)
				s.start()
				s.expect(tc.name, 0)
				s.ends(tc.name, context.Canceled)
			})
		})
	}
}
