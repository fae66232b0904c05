package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait on real sockets.
const patience = testkit.Patience

// api serves h over TLS, with HTTP/2 or without, and returns a pool to it.
func api(t testing.TB, http2 bool, h http.HandlerFunc) *Pool {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := New(u, Options{TLS: &tls.Config{RootCAs: roots}})
	t.Cleanup(p.Close)
	return p
}

// get asks for a path and reads the whole answer.
func get(ctx context.Context, p *Pool, path string) (string, error) {
	res, err := p.RoundTrip(ctx, &Request{Method: "GET", Target: path})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// One HTTP/2 connection serves a hundred streams; more streams open more.
func TestHTTP2ConnectionsAreFew(t *testing.T) {
	for _, tc := range []struct{ requests, least, most int }{{1, 1, 1}, {100, 1, 2}, {400, 2, 8}} {
		arrived, release := make(chan struct{}, 1000), make(chan struct{})
		p := api(t, true, func(http.ResponseWriter, *http.Request) {
			arrived <- struct{}{}
			<-release
		})
		var all sync.WaitGroup
		for range tc.requests {
			all.Go(func() {
				if _, err := get(t.Context(), p, "/"); err != nil {
					t.Errorf("%d requests: %v", tc.requests, err)
				}
			})
		}
		for range tc.requests {
			select {
			case <-arrived:
			case <-time.After(patience):
				t.Fatalf("%d requests: not all arrived", tc.requests)
			}
		}
		h1, h2 := p.Connections()
		if h1 != 0 || h2 < tc.least || h2 > tc.most {
			t.Errorf("%d requests: %d and %d connections, want none and %d to %d", tc.requests, h1, h2, tc.least, tc.most)
		}
		close(release)
		all.Wait()
	}
}

// After a burst on HTTP/1.1 no more than maxIdle connections stay.
func TestIdleConnectionsAreBounded(t *testing.T) {
	const burst = maxIdle + 50
	var arrived atomic.Int64
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if arrived.Add(1) == burst {
			close(release)
		}
		<-release
	}))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := New(u, Options{})
	defer p.Close()
	var all sync.WaitGroup
	for range burst {
		all.Go(func() {
			if _, err := get(t.Context(), p, "/"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if h1, _ := p.Connections(); h1 != maxIdle {
		t.Errorf("%d connections are open, want %d", h1, maxIdle)
	}
}

// An idle connection is closed in time, and one that is in use is not.
func TestIdleConnectionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeAPI()
		defer s.wait()
		p := New(&url.URL{Scheme: "http", Host: "api.test"}, Options{Dial: s.dial})
		defer p.Close()
		want := func(what string, n int) {
			t.Helper()
			synctest.Wait()
			if h1, _ := p.Connections(); h1 != n {
				t.Fatalf("%s: %d connections, want %d", what, h1, n)
			}
		}
		if got, err := get(t.Context(), p, "/"); err != nil || got != "fine" {
			t.Fatalf("got %q, %v", got, err)
		}
		want("after a request", 1)
		time.Sleep(idleTimeout - time.Second)
		want("almost expired", 1)
		if _, err := get(t.Context(), p, "/"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idleTimeout - time.Second)
		want("used again", 1)
		time.Sleep(2 * time.Second)
		want("expired", 0)
		if n := s.dials.Load(); n != 1 {
			t.Errorf("%d dials, want 1", n)
		}
	})
}

// pipeAPI is an API in memory that answers "fine".
type pipeAPI struct {
	all   sync.WaitGroup
	dials atomic.Int64
	slow  time.Duration // what a dial takes
}

func newPipeAPI() *pipeAPI { return &pipeAPI{} }

func (s *pipeAPI) wait() { s.all.Wait() }

func (s *pipeAPI) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.dials.Add(1)
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	s.all.Go(func() {
		defer theirs.Close()
		br := bufio.NewReader(theirs)
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			if _, err := io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"); err != nil {
				return
			}
		}
	})
	return ours, nil
}

// A dial whose request has left serves the next one; Close ends everything and
// everybody hears of it.
func TestDialsOutliveTheirRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeAPI()
		s.slow = time.Second
		defer s.wait()
		p := New(&url.URL{Scheme: "http", Host: "api.test"}, Options{Dial: s.dial})
		cause := errors.New("the client left")
		ctx, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second/2, func() { leave(cause) })
		_, err := get(ctx, p, "/")
		var e *Error
		if !errors.Is(err, cause) || !errors.As(err, &e) || e.Stage != Unsent {
			t.Errorf("got %v, want the cause, unsent", err)
		}
		time.Sleep(time.Second)
		if got, err := get(t.Context(), p, "/"); err != nil || got != "fine" || s.dials.Load() != 1 {
			t.Errorf("got %q, %v after %d dials; want the first dial's connection", got, err, s.dials.Load())
		}
		if _, err := get(ctx, p, "/"); !errors.Is(err, cause) {
			t.Errorf("a request that had left: %v", err)
		}
		// One in the middle of a dial, one that comes too late.
		done := make(chan error, 1)
		hold, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, err := get(t.Context(), p, "/"); done <- err }()
		synctest.Wait()
		p.Close()
		if err := <-done; err == nil {
			t.Error("a dial went on after Close")
		}
		if _, err := io.ReadAll(hold.Body); err != nil && !errors.Is(err, io.EOF) {
			t.Logf("the exchange in flight: %v", err)
		}
		_ = hold.Body.Close()
		if _, err := get(t.Context(), p, "/"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
		if h1, h2 := p.Connections(); h1+h2 != 0 || len(p.line) != 0 || p.waiting.Load() != 0 || p.growth.running != 0 {
			t.Errorf("%d, %d connections, %d waiting, %d dials", h1, h2, len(p.line), p.growth.running)
		}
	})
}

// Close ends exchanges in flight, on connections of either protocol.
func TestCloseEndsExchanges(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		left := make(chan struct{})
		p := api(t, http2, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			close(left)
		})
		res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("http2=%v: the answer ended cleanly", http2)
		}
		_ = res.Body.Close()
		select {
		case <-left:
		case <-time.After(patience):
			t.Errorf("http2=%v: the API did not hear of it", http2)
		}
	}
}

// Requests that come and go in a crowd leave nothing behind.
func TestTheBooksBalance(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		p := api(t, http2, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "3") {
				<-r.Context().Done()
			}
			_, _ = io.WriteString(w, "fine")
		})
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for j := range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(j)*time.Millisecond)
					_, _ = get(ctx, p, "/"+string(rune('0'+(i+j)%10)))
					cancel()
				}
			})
		}
		all.Wait()
		settled(p)
		p.mu.Lock()
		if len(p.line) != 0 || p.waiting.Load() != 0 || len(p.open) != len(p.idle) || p.budget.held.Load() != 0 {
			t.Errorf("http2=%v: %d in line, %d open, %d idle, %d bytes held", http2, len(p.line), len(p.open), len(p.idle), p.budget.held.Load())
		}
		for _, c := range p.shared {
			c.mu.Lock()
			if c.err == nil && (c.places.reserved != 0 || len(c.streams) != 0) {
				t.Errorf("%d places reserved, %d streams", c.places.reserved, len(c.streams))
			}
			c.mu.Unlock()
		}
		p.mu.Unlock()
		if got, err := get(t.Context(), p, "/0"); err != nil || got != "fine" {
			t.Errorf("http2=%v: then %q, %v", http2, got, err)
		}
	}
}

// settled waits until no dial is in progress.
func settled(p *Pool) {
	for p.View().Dialling > 0 {
		<-time.After(time.Millisecond)
	}
}

// A slow reader of an endless answer costs a bounded buffer.
func TestHTTP2BufferIsBounded(t *testing.T) {
	const size = 8 << 20
	p := api(t, true, func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte("x"), 64<<10)
		for range size / len(block) {
			_, _ = w.Write(block)
		}
	})
	res, err := p.RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s := (*h2Stream)(res.Body.(*h2Body))
	read, most := 0, 0
	buf := make([]byte, 5000)
	for {
		n, err := res.Body.Read(buf)
		read += n
		s.conn.mu.Lock()
		most = max(most, s.inbox.size)
		s.conn.mu.Unlock()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if read != size || most > mostGrown {
		t.Errorf("read %d bytes through a buffer of %d, want %d and at most %d", read, most, size, mostGrown)
	}
}
