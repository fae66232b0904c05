package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/testkit"
)

// Large bodies arrive intact in both directions, many at once, with heads that
// need more than one frame.
func TestBodiesArriveIntact(t *testing.T) {
	const size, clients = 1 << 20, 12
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				body, err := io.ReadAll(req.Body)
				if err != nil {
					return
				}
				sum := sha256.Sum256(body)
				w.Header().Set("X-Sum", hex.EncodeToString(sum[:]))
				w.Header().Set("X-Long", req.Header.Get("X-Long"))
				_, _ = w.Write(body)
			}))
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					rng := rand.NewChaCha8([32]byte{byte(i)})
					body := make([]byte, size+i)
					_, _ = rng.Read(body)
					var reader io.Reader = bytes.NewReader(body)
					if i%3 == 0 {
						reader = io.MultiReader(reader) // of unknown length
					}
					long := strings.Repeat(string(rune('a'+i)), 40<<10)
					req, _ := http.NewRequest("POST", r.url("/v1/files"), reader)
					req.Header.Set("X-Long", long)
					res, err := r.client(i%2 == 0).Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					defer res.Body.Close()
					got, err := io.ReadAll(res.Body)
					sum := sha256.Sum256(body)
					if err != nil || res.Header.Get("X-Sum") != hex.EncodeToString(sum[:]) || !bytes.Equal(got, body) || res.Header.Get("X-Long") != long {
						t.Errorf("client %d: status %d, %d bytes back, %v; they differ", i, res.StatusCode, len(got), err)
					}
				})
			}
			all.Wait()
		})
	}
}

// Clients that do not read hold up nobody who shares their connection to the
// API.
func TestAStalledClientHoldsUpNobody(t *testing.T) {
	r := newRig(t, served(t, "tls2", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/flood" {
			_, _ = io.WriteString(w, "fine")
			return
		}
		block := make([]byte, 64<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	for range 20 {
		c := r.dial()
		c.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
		c.head("GET")
	}
	for i := range 50 {
		if got, err := post(r.http1(), r.url("/"), []byte("body")); err != nil || got != "fine" {
			t.Fatalf("request %d: %q, %v", i, got, err)
		}
	}
	if _, h2 := r.connections(); h2 != 1 {
		t.Errorf("%d connections, want 1", h2)
	}
}

// The API hears by RST_STREAM that a client has left; the connection serves on.
func TestALeavingClientResetsItsStream(t *testing.T) {
	resets := make(chan http2.ErrCode, 1)
	var seen tally
	r := newRig(t, h2plays(t, &seen, func(n int, p *testkit.Peer, req testkit.PeerRequest) {
		if n > 1 {
			p.Answer(req.ID, "fine")
			return
		}
		p.Head(req.ID, false, ":status", "200", "content-type", "text/event-stream")
		for {
			switch f := p.Next().(type) {
			case nil:
				return
			case *http2.RSTStreamFrame:
				resets <- f.ErrCode
				return
			}
		}
	}))
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
	c.head("POST")
	_ = c.Close()
	select {
	case code := <-resets:
		if code != http2.ErrCodeCancel {
			t.Errorf("reset with %v, want CANCEL", code)
		}
	case <-time.After(patience):
		t.Fatal("no RST_STREAM")
	}
	if got, err := post(r.http1(), r.url("/"), []byte("body")); err != nil || got != "fine" {
		t.Errorf("then %q, %v", got, err)
	}
	if _, h2 := r.connections(); h2 != 1 {
		t.Errorf("%d connections, want 1", h2)
	}
}

// A connection that said goodbye is replaced; what runs on it goes on.
func TestAGoingConnectionIsReplaced(t *testing.T) {
	proceed := make(chan struct{})
	r := newRig(t, h2scripted(t, func(n int, p *testkit.Peer) {
		for {
			req, ok := p.Request()
			if !ok {
				return
			}
			if n > 1 {
				p.Answer(req.ID, "new")
				continue
			}
			p.Head(req.ID, false, ":status", "200")
			_ = p.WriteGoAway(req.ID, http2.ErrCodeNo, nil)
			_ = p.WriteData(req.ID, false, []byte("old"))
			<-proceed
			_ = p.WriteData(req.ID, true, []byte("er"))
		}
	}))
	res, err := r.http1().Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := post(r.http1(), r.url("/"), []byte("body")); err != nil || got != "new" {
			t.Errorf("the next: %q, %v", got, err)
		}
	}
	close(proceed)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "er" {
		t.Errorf("the old one ended with %q, %v", rest, err)
	}
	testkit.Eventually(t, "the old connection is closed", func() bool { _, h2 := r.connections(); return h2 == 1 })
	for range 4 {
		if rec := r.record(); rec.Attempts != 1 || rec.Outcome != "completed" {
			t.Errorf("record %+v", rec)
		}
	}
}

// An API that waits for its windows to open gets no more than they allow, and
// an upload goes on when they do.
func TestUploadsKeepToTheWindow(t *testing.T) {
	const size = 100 << 10
	got := make(chan int, 1)
	early := make(chan int, 1)
	r := newRig(t, h2scripted(t, func(_ int, p *testkit.Peer) {
		req, ok := p.Request()
		if !ok {
			return
		}
		sum := 0
		for sum < 65535 {
			f, ok := p.Next().(*http2.DataFrame)
			if !ok {
				return
			}
			sum += len(f.Data())
		}
		early <- sum
		_ = p.WriteWindowUpdate(0, size)
		_ = p.WriteWindowUpdate(req.ID, size)
		for {
			f, ok := p.Next().(*http2.DataFrame)
			if !ok {
				return
			}
			if sum += len(f.Data()); f.StreamEnded() {
				break
			}
		}
		got <- sum
		p.Answer(req.ID, "fine")
		p.Drain()
	}))
	if answer, err := post(r.http1(), r.url("/"), make([]byte, size)); err != nil || answer != "fine" {
		t.Errorf("got %q, %v", answer, err)
	}
	if a, b := <-early, <-got; a != 65535 || b != size {
		t.Errorf("%d bytes before the windows opened and %d in all, want 65535 and %d", a, b, size)
	}
}

// A connection whose other end is gone without a word is found out.
func TestAPathThatDiedSilently(t *testing.T) {
	server := borrow(t)
	synctest.Test(t, func(t *testing.T) {
		o := piped(t, func(_ int, c net.Conn) {
			p, err := testkit.AcceptPeer(c, server)
			if err != nil {
				return
			}
			_ = p.WriteSettings()
			req, ok := p.Request()
			if !ok {
				return
			}
			p.Head(req.ID, false, ":status", "200", "content-type", "text/event-stream")
			_ = p.WriteData(req.ID, false, []byte("data: x\n\n"))
			time.Sleep(time.Hour) // it reads no more
		})
		o.api.Scheme = "https"
		// The certificate is of another name and time.
		o.engine.TLS = &tls.Config{InsecureSkipVerify: true}
		o.limits = Limits{HeaderTimeout: time.Hour, IdleTimeout: time.Hour / 2}
		r := newRig(t, o)
		begin := time.Now()
		got, err := post(r.http1(), r.url("/"), []byte("body"))
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("it took %v, want about a minute", took)
		}
		if err == nil || got != "data: x\n\n" {
			t.Errorf("got %q, %v; want the event and a broken stream", got, err)
		}
		if rec := r.record(); rec.Outcome != "upstream_cut" {
			t.Errorf("record %+v, want upstream_cut", rec)
		}
	})
}

// An API that says goodbye again and again, as load balancers do, loses
// nobody's request.
func TestGoodbyesLoseNothing(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var n atomic.Int64
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if n.Add(1)%40 == 0 {
					w.Header().Set("Connection", "close") // a GOAWAY on HTTP/2
				}
				_, _ = io.WriteString(w, "fine")
			}))
			hammer(t, r.http1(), r.url("/v1/messages"), 1<<10, 1000, "fine")
			if seen := n.Load(); seen != 1000 {
				t.Errorf("the API served %d requests, want 1000", seen)
			}
		})
	}
}

// mute is a connection that can be read after it can no longer be written.
type mute struct {
	net.Conn
	broken, tried chan struct{}
	once          sync.Once
}

func (m *mute) Write(p []byte) (int, error) {
	select {
	case <-m.broken:
		m.once.Do(func() { close(m.tried) })
		return 0, syscall.EPIPE
	default:
		return m.Conn.Write(p)
	}
}

// A GOAWAY that comes after a failed write still tells which requests are safe
// to repeat.
func TestLastWordsAreHeard(t *testing.T) {
	broken, tried := make(chan struct{}), make(chan struct{})
	o := h2scripted(t, func(n int, p *testkit.Peer) {
		req, ok := p.Request()
		if !ok {
			return
		}
		p.Hush() // or a write of its own finds the break before the request does
		p.Answer(req.ID, "fine")
		if n == 1 {
			<-tried
			_ = p.WriteGoAway(req.ID, http2.ErrCodeNo, nil)
		}
		p.Drain()
	})
	dials := 0
	o.engine.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if dials++; err != nil || dials > 1 {
			return c, err
		}
		return &mute{Conn: c, broken: broken, tried: tried}, nil
	}
	r := newRig(t, o)
	for i, attempts := range []int{1, 2} {
		if got, err := post(r.http1(), r.url("/"), []byte("body")); err != nil || got != "fine" {
			t.Errorf("request %d: %q, %v", i, got, err)
		}
		if rec := r.record(); rec.Attempts != attempts {
			t.Errorf("request %d: %d attempts, want %d", i, rec.Attempts, attempts)
		}
		if i == 0 {
			close(broken)
		}
	}
}

// Many clients share a connection to the API: of no credential may anything be
// learned from the size of the next request, however it is spelled
// (RFC 7541 7.1.3).
func TestCredentialsAreNeverIndexed(t *testing.T) {
	got := make(chan []hpack.HeaderField, 1)
	r := newRig(t, h2scripted(t, func(_ int, p *testkit.Peer) {
		for {
			switch f := p.Next().(type) {
			case nil:
				return
			case *http2.MetaHeadersFrame:
				got <- f.RegularFields()
				p.Head(f.StreamID, true, ":status", "204")
			}
		}
	}))
	for _, spelling := range []string{
		"authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION", "authorizatioN",
		"x-api-key", "X-Api-Key", "X-API-Key", "X-API-KEY", "x-Api-kEY", "cookie", "Cookie", "COOKIE", "cOOkie",
	} {
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: x\r\n%s: s3cret\r\nX-Other: open\r\n\r\n", spelling)
		c.head("GET")
		want := []hpack.HeaderField{{Name: strings.ToLower(spelling), Value: "s3cret", Sensitive: true}, {Name: "x-other", Value: "open"}}
		if fields := <-got; !slices.Equal(fields, want) {
			t.Errorf("%s goes as %+v, want %+v", spelling, fields, want)
		}
	}
}
