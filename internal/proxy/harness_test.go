package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/internal/upstream"
)

// net/http gives a connection with an unread upload half a second to end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience bounds every wait of these tests: what takes longer hangs.
const patience = testkit.Patience

// options of a rig; the zero value is a roomy proxy.
type options struct {
	api    *url.URL
	engine upstream.Options
	other  Upstream // in place of the engine

	followers []Follower
	identify  func(edge.Client) (Caller, bool)

	limits Limits
	rules  []headers.Rule
	places int
	queue  time.Duration
	frames bool // the API speaks HTTP/2 alone
	pipes  bool // the client's side is in memory, for tests in a bubble of time
}

// rig is a proxy on loopback in front of an API.
type rig struct {
	t       testing.TB
	handler *Handler
	pool    *upstream.Pool
	server  *edge.Server
	addr    string
	reach   func() (net.Conn, error) // dials the proxy
	wait    time.Duration
	journal *journal
	metrics *prometheus.Registry
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	if o.limits.HeaderTimeout == 0 {
		o.limits.HeaderTimeout = patience
	}
	if o.limits.IdleTimeout == 0 {
		o.limits.IdleTimeout = patience
	}
	if o.limits.MaxBodyBytes == 0 {
		o.limits.MaxBodyBytes = 64 << 20
	}
	if o.places == 0 {
		o.places = 1000
	}
	r := &rig{t: t, journal: newJournal(), metrics: prometheus.NewRegistry()}
	engine := o.other
	if engine == nil {
		engine = oracle(t, o)
	}
	if engine == nil {
		r.pool = upstream.New(o.api, o.engine)
		engine = r.pool
	}
	r.handler = New(Options{
		Upstream: engine, Gate: admission.NewGate(o.places, o.queue), Rules: o.rules, Limits: o.limits,
		Metrics: NewMetrics(r.metrics, o.places), Log: zerolog.New(r.journal), Sinks: []Sink{auditor{t}},
		Followers: o.followers, Identify: o.identify,
		Local: map[string]http.Handler{"/health": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "local")
		})},
	})
	r.wait = patience
	if o.pipes {
		r.wait = 24 * time.Hour
	}
	ln := r.listen(o.pipes)
	r.server = edge.New(r.handler, edge.Options{Log: r.handler.Log})
	serving, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); _ = r.server.ServeListener(serving, ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r.server.Close()
		stop()
		<-served
		r.handler.Gate.Close()
		select {
		case <-r.handler.Gate.Idle():
		case <-ctx.Done():
			t.Error("a request is still in flight after its connection was closed")
		}
		if r.pool != nil {
			r.pool.Close()
		}
		if o.pipes {
			time.Sleep(time.Second) // virtual: see TestMain
		}
		if lost := r.handler.replay.taken(); lost != 0 {
			t.Errorf("replay budget: %d bytes are lost", lost)
		}
	})
	return r
}

func (r *rig) listen(pipes bool) net.Listener {
	r.t.Helper()
	if pipes {
		p := testkit.NewPipes()
		r.addr, r.reach = "proxy.test", p.Dial
		return p
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	r.reach = func() (net.Conn, error) { return net.Dial("tcp", r.addr) }
	return ln
}

// piped is an API in memory, as scripted is one on sockets.
func piped(t testing.TB, script func(n int, c net.Conn)) options {
	p := testkit.NewPipes()
	testkit.Script(t, p, script)
	o := options{api: &url.URL{Scheme: "http", Host: "api.test"}, pipes: true}
	o.engine.Dial = func(context.Context, string, string) (net.Conn, error) { return p.Dial() }
	return o
}

// dial opens a client's connection, closed with the test.
func (r *rig) dial() *client {
	r.t.Helper()
	c, err := r.reach()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, real := c.(*net.TCPConn); real {
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	return &client{Conn: c, t: r.t, br: bufio.NewReader(c)}
}

// client speaks HTTP/1.1 by hand.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// head reads the head of the answer to a request with the method.
func (c *client) head(method string) *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read the answer's head: %v", err)
	}
	return res
}

// answer reads a whole answer.
func (c *client) answer(method string) (*http.Response, string) {
	c.t.Helper()
	res := c.head(method)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("read the answer's body after %q: %v", body, err)
	}
	return res, string(body)
}

// h2c returns a client that speaks HTTP/2 in plain text.
func (r *rig) h2c() *http.Client { return r.client(false) }

// http1 returns an ordinary HTTP/1.1 client.
func (r *rig) http1() *http.Client { return r.client(true) }

func (r *rig) client(http1 bool) *http.Client {
	var p http.Protocols
	p.SetHTTP1(http1)
	p.SetUnencryptedHTTP2(!http1)
	tr := &http.Transport{
		Protocols: &p, DisableCompression: true, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: patience,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return r.reach() },
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (r *rig) url(path string) string { return "http://" + r.addr + path }

// record waits for the next access-log line.
func (r *rig) record() line {
	r.t.Helper()
	select {
	case l := <-r.journal.records:
		return l
	case <-time.After(r.wait):
		r.t.Fatal("no access-log line was written")
		return line{}
	}
}

// line is what these tests read of an access-log line.
type line struct {
	Status       int    `json:"status"`
	Outcome      string `json:"outcome"`
	By           string `json:"ended_by"`
	In           string `json:"ended_in"`
	Cause        string `json:"cause"`
	ErrorType    string `json:"error_type"`
	Attempts     int    `json:"attempts"`
	RequestBytes int64  `json:"request_bytes"`
	UpstreamID   string `json:"upstream_request_id"`
	Credential   string `json:"credential"`
	Path         string `json:"path"`
	Method       string `json:"method"`
	ID           string `json:"request_id"`
}

// auditor holds every record of every test to the table of endings.
type auditor struct{ t testing.TB }

func (a auditor) Ended(r *Record) {
	i := slices.IndexFunc(table[:], func(row row) bool { return row.name == r.Cause })
	if i < 0 {
		a.t.Errorf("an exchange ended by %q, which is no cause", r.Cause)
		return
	}
	if row := table[i]; !slices.Contains(row.in, r.Phase) || r.By != row.by || r.Outcome != row.outcome || r.ErrorType != row.errorType {
		a.t.Errorf("%s ended in %s, by %s, as %s, %s: not as the table has it", r.Cause, r.Phase, r.By, r.Outcome, r.ErrorType)
	}
	order := []time.Duration{r.Admitted, r.Sent, r.Head, r.FirstByte, r.LastByte, r.Ended}
	order = slices.DeleteFunc(order, func(d time.Duration) bool { return d == 0 })
	if !slices.IsSorted(order) || r.Ended == 0 {
		a.t.Errorf("%s: the moments are out of order: %v", r.Cause, order)
	}
}

// journal keeps the log and hands out its access lines.
type journal struct {
	gate    sync.RWMutex
	mu      sync.Mutex
	all     bytes.Buffer
	records chan line
}

func newJournal() *journal { return &journal{records: make(chan line, 1<<16)} }

// block makes every write wait for unblock.
func (j *journal) block() { j.gate.Lock() }

func (j *journal) unblock() { j.gate.Unlock() }

func (j *journal) Write(p []byte) (int, error) {
	j.gate.RLock()
	defer j.gate.RUnlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all.Write(p)
	var e struct {
		Event string `json:"event"`
		line
	}
	if json.Unmarshal(p, &e) == nil && e.Event == "request" {
		j.records <- e.line
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

// scripted is an API of bare sockets: script gets each connection in turn,
// numbered from 1, and owns it.
func scripted(t testing.TB, script func(n int, c net.Conn)) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Script(t, ln, script)
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

// readRequest reads one request's head and returns it as it came.
func readHead(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		l, err := br.ReadString('\n')
		b.WriteString(l)
		if err != nil || l == "\r\n" {
			return b.String(), err
		}
	}
}

// protocols are what an API can speak.
var protocols = []string{"plain", "tls1", "tls2"}

// served is an API of net/http.
func served(t testing.TB, protocol string, h http.HandlerFunc) options {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.DisableGeneralOptionsHandler = true
	s.Config.ErrorLog = telemetry.StandardLog(zerolog.Nop(), "api")
	t.Cleanup(s.Close)
	if protocol == "plain" {
		s.Start()
	} else {
		s.EnableHTTP2 = protocol == "tls2"
		s.StartTLS()
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := options{api: u}
	if s.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		o.engine.TLS = &tls.Config{RootCAs: roots}
	}
	return o
}

// pauseBriefly lets others run between two looks at a real socket.
func pauseBriefly() { <-time.After(time.Millisecond) }
