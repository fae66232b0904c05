package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Outcome is how the API's side of a request ended.
type Outcome string

// The outcomes.
const (
	Completed Outcome = "completed" // the whole answer was written
	Cancelled Outcome = "cancelled" // the client left first
	Cut       Outcome = "cut"       // the plan broke the connection
)

// keptBody is how much of a request's body a record keeps.
const keptBody = 256 << 10

// keptRequests bounds how many records an API keeps; the oldest go first.
const keptRequests = 4096

// A Request is what arrived. The fields of its first group are set when it
// is handed out; those of the second may be read once Ended is closed.
type Request struct {
	Name    string // the plan's
	Method  string
	Target  string // the request target as it stood on the wire
	Proto   string
	Host    string
	Header  http.Header
	Lines   []string // header lines in wire order; nil over HTTP/2
	Arrived time.Time

	Body       []byte // its first 256 KiB
	BodyBytes  int64
	BodySHA256 string // in hex
	BodyErr    error  // why the body ended before its end
	Outcome    Outcome
	EndedAt    time.Time

	ended chan struct{}
}

// Ended closes when the API's side of the request is over.
func (r *Request) Ended() <-chan struct{} { return r.ended }

// readBody reads the request's body to its end.
func (r *Request) readBody(body io.Reader) error {
	sum := sha256.New()
	var head bytes.Buffer
	n, err := io.Copy(io.MultiWriter(sum, &prefix{buf: &head, room: keptBody}), body)
	r.Body, r.BodyBytes, r.BodyErr = head.Bytes(), n, err
	r.BodySHA256 = hex.EncodeToString(sum.Sum(nil))
	return err
}

// A prefix keeps the first bytes written to it and drops the others.
type prefix struct {
	buf  *bytes.Buffer
	room int
}

func (p *prefix) Write(b []byte) (int, error) {
	keep := min(len(b), p.room)
	p.buf.Write(b[:keep])
	p.room -= keep
	return len(b), nil
}

// ledger keeps the newest requests and wakes those who wait for one.
type ledger struct {
	mu       sync.Mutex
	requests []*Request
	total    int
	changed  chan struct{}
}

func (l *ledger) add(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.requests) == keptRequests {
		l.requests = append(l.requests[:0], l.requests[keptRequests/2:]...)
	}
	l.requests = append(l.requests, r)
	l.total++
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) wait(ctx context.Context, name string) (*Request, error) {
	for {
		l.mu.Lock()
		changed := l.changed
		for _, r := range l.requests {
			if r.Name == name {
				l.mu.Unlock()
				return r, nil
			}
		}
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for request %q: %w", name, context.Cause(ctx))
		}
	}
}

// tapTail is enough for the largest header block plus one read-ahead.
const tapTail = 128 << 10

// A tap remembers the newest bytes read from a connection, so that header
// lines can be shown as they stood on the wire: net/http keeps no order.
type tap struct {
	net.Conn
	mu   sync.Mutex
	tail []byte
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.tail)+n > tapTail {
		t.tail = append(t.tail[:0], t.tail[len(t.tail)/2:]...)
	}
	t.tail = append(t.tail, b[:n]...)
	return n, err
}

// lines returns the header lines of the request that was read last. A server
// reads at most a few KiB past a head before its handler runs, so the newest
// occurrence of the request line is the one.
func (t *tap) lines(r *http.Request) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := fmt.Sprintf("%s %s %s\r\n", r.Method, r.RequestURI, r.Proto)
	at := bytes.LastIndex(t.tail, []byte(start))
	if at < 0 {
		return nil
	}
	head, _, _ := strings.Cut(string(t.tail[at+len(start):]), "\r\n\r\n")
	return strings.Split(head, "\r\n")
}

type tapListener struct{ net.Listener }

func (l tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tap{Conn: c}, nil
}

type tapKey struct{}

func withTap(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tap); ok {
		return context.WithValue(ctx, tapKey{}, t)
	}
	return ctx
}

func tappedLines(r *http.Request) []string {
	if t, ok := r.Context().Value(tapKey{}).(*tap); ok {
		return t.lines(r)
	}
	return nil
}
