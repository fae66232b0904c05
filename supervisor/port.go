package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/messages"
)

const (
	// knockEvery is the pause between two looks at our own port, at the least.
	knockEvery = time.Second
	// knockPatience is how long an answer may take.
	knockPatience = 2 * time.Second
	// knockOverdue is how late a look may end and still say something: one that
	// ends later was frozen together with the process.
	knockOverdue = knockPatience + time.Second
	// doubtedAfter is how many looks must fail in a row before a port is said not
	// to answer.
	doubtedAfter = 2
	// lookValid is how old a look may be and still count.
	lookValid = 10 * time.Second
)

// knock is the request of a look: a page of our own, which is no proxied
// request, in no log and in no metric, on a connection that ends with it.
var knock = []byte("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

// portWatch proves that a client who dials our port finds an answer, by dialing
// it. It is a suture service; one Serve runs at a time. Its findings may be read
// from any goroutine.
type portWatch struct {
	want *messages.Latest[messages.Desired]
	addr func() (net.Addr, error)
	last atomic.Pointer[portLook]
}

// portLook is what became of the looks so far.
type portLook struct {
	at      time.Time
	fails   int // in a row
	trouble messages.Trouble
	detail  string
}

// newPortWatch makes a watch that has not looked yet.
func newPortWatch(want *messages.Latest[messages.Desired], server *edge.Server) *portWatch {
	return &portWatch{want: want, addr: server.Bind}
}

// String names the service in logs and metrics.
func (p *portWatch) String() string { return "port" }

// Serve looks while a client is meant to be served, until ctx ends.
func (p *portWatch) Serve(ctx context.Context) error {
	for {
		if _, err := p.want.Await(ctx, func(d messages.Desired) bool { return d.Listen }); err != nil {
			return err
		}
		began := time.Now()
		p.look(ctx, began)
		pause := time.NewTimer(knockEvery - time.Since(began))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (p *portWatch) look(ctx context.Context, began time.Time) {
	addr, err := p.addr()
	if err != nil { // the listener tells of that
		return
	}
	trouble, detail := knockAt(ctx, reachable(addr))
	now := time.Now()
	if ctx.Err() != nil || now.Sub(began) > knockOverdue {
		return
	}
	next := &portLook{at: now, trouble: trouble, detail: detail}
	if was := p.last.Load(); trouble != messages.TroubleNone && was != nil {
		next.fails = was.fails
	}
	if trouble != messages.TroubleNone {
		next.fails++
	}
	p.last.Store(next)
}

// knockAt dials, asks and reads. The detail has no port of ours in it, so that
// the same trouble reads the same each time.
func knockAt(ctx context.Context, addr string) (messages.Trouble, string) {
	ctx, cancel := context.WithTimeout(ctx, knockPatience)
	defer cancel()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return blame(err), "connect to our own port: " + short(err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	answer := make([]byte, len("HTTP/1.1 "))
	_, err = c.Write(knock)
	if err == nil {
		_, err = io.ReadFull(c, answer)
	}
	switch {
	case err != nil:
		return blameSilence(), "ask our own port: " + short(err)
	case !bytes.HasPrefix(answer, []byte("HTTP/1.")):
		return messages.TroubleNotAnswering, "our own port answers something else than HTTP"
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10)) // its own goodbye
	return messages.TroubleNone, ""
}

// blame says whose fault a connection that failed is.
func blame(err error) messages.Trouble {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return messages.TroubleDescriptors
	}
	return messages.TroubleNotAnswering
}

// blameSilence finds out, while a connection of ours waits for an answer,
// whether it was the last descriptor that there was.
func blameSilence() messages.Trouble {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return blame(err)
	}
	_ = f.Close()
	return messages.TroubleNotAnswering
}

// short is an error without addresses.
func short(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", knockPatience)
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// reachable is the address at which a client on this host finds a listener.
func reachable(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr.String()
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if !ap.Addr().Is4() {
		loopback = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(loopback, ap.Port()).String()
}

// serving reports whether the newest look found an answer.
func (p *portWatch) serving(now time.Time) bool {
	l := p.last.Load()
	return l != nil && l.trouble == messages.TroubleNone && now.Sub(l.at) < lookValid && p.want.Get().Listen
}

// status is what the accounts of the listener and the looks at the port say
// together. inFlight counts the requests in flight; it is asked with a trouble
// only.
func (p *portWatch) status(now time.Time, listener messages.ServiceAccount, inFlight func() int) messages.EdgeStatus {
	s := messages.EdgeStatus{}
	l := p.last.Load()
	switch {
	case !p.want.Get().Listen:
	case !listener.Up && listener.Pauses >= doubtedAfter:
		s.Trouble, s.Detail = messages.TroubleListenerFailing, lastCause(listener)
	case l == nil || now.Sub(l.at) >= lookValid: // nobody knows
	case l.fails >= doubtedAfter && !listener.Up:
		s.Trouble, s.Detail = messages.TroubleListenerFailing, lastCause(listener)
	case l.fails >= doubtedAfter:
		s.Trouble, s.Detail = l.trouble, l.detail
	}
	s.Idle = s.Trouble != messages.TroubleNone && inFlight() == 0
	return s
}

// lastCause names a service and why it ended last.
func lastCause(a messages.ServiceAccount) string {
	c := a.LastCause()
	return fmt.Sprintf("%s: %s: %s", a.Service, c.Kind, c.Message)
}
