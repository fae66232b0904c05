package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// addresses is a name with several addresses, each with its own way to be: it
// answers, is dead, refuses, or takes TCP and no TLS.
type addresses struct {
	t    *testing.T
	far  *far
	ways map[string]string
	all  sync.WaitGroup
	seen []string
	mu   sync.Mutex
}

func (a *addresses) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for i := range len(a.ways) {
		out = append(out, netip.MustParseAddr(a.address(i)))
	}
	return out, nil
}

func (a *addresses) address(i int) string { return fmt.Sprintf("192.0.2.%d", i+1) }

func (a *addresses) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	a.mu.Lock()
	a.seen = append(a.seen, host)
	a.mu.Unlock()
	switch a.ways[host] {
	case "dead":
		<-ctx.Done()
		return nil, ctx.Err()
	case "refuses":
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case "full":
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	case "no TLS", "garbage":
		ours, theirs := net.Pipe()
		a.all.Go(func() {
			defer theirs.Close()
			if a.ways[host] == "garbage" {
				a.all.Go(func() { _, _ = io.WriteString(theirs, "HTTP/1.1 400 Bad Request\r\n\r\n") })
			}
			_, _ = io.Copy(io.Discard, theirs)
		})
		return ours, nil
	}
	return a.far.dial(ctx, network, address)
}

// Every address is tried within one attempt, TLS included, and the one that
// works is found whatever the others do.
func TestAllAddressesAreTried(t *testing.T) {
	for _, tc := range []struct {
		ways  []string
		cause Cause
		most  time.Duration
	}{
		{[]string{"answers"}, "", 4 * rtt},
		{[]string{"dead", "dead", "dead", "answers"}, "", time.Second},
		{[]string{"no TLS", "answers"}, "", time.Second / 2},
		{[]string{"garbage", "refuses", "answers"}, "", time.Second / 2},
		{[]string{"refuses", "refuses", "answers"}, "", 4 * rtt},
		{[]string{"dead", "no TLS", "garbage", "refuses", "answers"}, "", time.Second},
		{[]string{"dead", "dead"}, CauseTimeout, ConnectTimeout},
		{[]string{"no TLS"}, CauseTimeout, ConnectTimeout},
		{[]string{"dead", "refuses"}, CauseRefused, ConnectTimeout},
		{[]string{"refuses", "garbage"}, CauseTLS, time.Second},
		{[]string{"full", "refuses"}, CauseDescriptors, time.Second},
	} {
		in(t, func(t *testing.T, f *far) {
			a := &addresses{t: t, far: f, ways: map[string]string{}}
			for i, way := range tc.ways {
				a.ways[a.address(i)] = way
			}
			farAPI(t, f, nil, sized)
			p := New(&url.URL{Scheme: "https", Host: "api.test"}, Options{
				Dial: a.dial, Lookup: a.lookup, TLS: &tls.Config{InsecureSkipVerify: true}})
			start := time.Now()
			_, err := get(t.Context(), p, "/1")
			took := time.Since(start)
			var e *Error
			switch {
			case tc.cause == "" && err != nil, tc.cause != "" && (!errors.As(err, &e) || e.Cause != tc.cause || e.Stage != Unsent || !e.Dial):
				t.Errorf("%q: %v (%+v), want the cause %q", tc.ways, err, e, tc.cause)
			case took > tc.most:
				t.Errorf("%q: it took %v, want at most %v", tc.ways, took, tc.most)
			}
			if tc.cause != "" && scraped(t, p)["upstream_dial_errors_total/"+string(tc.cause)] != 1 {
				t.Errorf("%q: not counted as %s", tc.ways, tc.cause)
			}
			p.Close()
			a.all.Wait()
		})
	}
}

// The families of addresses take turns, the resolver's first choice first.
func TestFamiliesTakeTurns(t *testing.T) {
	k := &connector{lookup: func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, s := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "::ffff:192.0.2.1", "192.0.2.2"} {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}}
	got, err := k.addresses(t.Context(), "api.test", "443")
	want := "[2001:db8::1]:443 192.0.2.1:443 [2001:db8::2]:443 192.0.2.2:443 [2001:db8::3]:443"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// What a certificate, a handshake and a reset mean is told apart.
func TestCausesOfTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = quietStd
	s.StartTLS()
	defer s.Close()
	reset, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer reset.Close()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := reset.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	})
	defer func() { _ = reset.Close(); accepting.Wait() }()
	for _, tc := range []struct {
		host  string
		conf  *tls.Config
		cause Cause
	}{
		{s.Listener.Addr().String(), nil, CauseCertificate},
		{s.Listener.Addr().String(), &tls.Config{RootCAs: rootsOf(s), ServerName: "wrong.test"}, CauseCertificate},
		{s.Listener.Addr().String(), &tls.Config{RootCAs: rootsOf(s), MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, CauseTLS},
		{reset.Addr().String(), nil, CauseReset},
	} {
		p := New(&url.URL{Scheme: "https", Host: tc.host}, Options{TLS: tc.conf})
		_, err := get(t.Context(), p, "/")
		var e *Error
		if !errors.As(err, &e) || e.Cause != tc.cause || !e.Dial || !e.TLS && tc.cause != CauseReset {
			t.Errorf("%v (%+v), want the cause %s", err, e, tc.cause)
		}
		p.Close()
	}
	p := New(&url.URL{Scheme: "https", Host: s.Listener.Addr().String()}, Options{TLS: &tls.Config{RootCAs: rootsOf(s)}})
	defer p.Close()
	if _, err := get(t.Context(), p, "/"); err != nil {
		t.Fatal(err)
	}
	if got, want := scraped(t, p)["upstream_certificate_expiry_timestamp_seconds"], float64(s.Certificate().NotAfter.Unix()); got != want {
		t.Errorf("the certificate ends at %v, want %v", got, want)
	}
}

// egressProxy is an HTTP proxy that knows CONNECT.
func egressProxy(t *testing.T, secure bool, want string, tunnels *atomic.Int64) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		tunnels.Add(1)
		here, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = rw.WriteString("HTTP/1.1 200 Connection established\r\n\r\n")
		_ = rw.Flush()
		var both sync.WaitGroup
		pass := func(to net.Conn, from io.Reader) { _, _ = io.Copy(to, from); _ = to.Close() }
		both.Go(func() { pass(there, rw) })
		both.Go(func() { pass(here, bufio.NewReader(there)) })
		both.Wait()
	}))
	s.Config.ErrorLog = quietStd
	s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// Through an egress proxy TLS to the API runs inside; its refusal is its own
// cause and shows no credentials.
func TestTheEgressProxy(t *testing.T) {
	const secret = "Basic dXNlcjpodW50ZXIy"
	for _, http2 := range []bool{true, false} {
		for _, secure := range []bool{true, false} {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Proxy-Authorization") != "" {
					t.Error("the API was shown the proxy's credentials")
				}
				_, _ = io.WriteString(w, "fine")
			}))
			s.EnableHTTP2 = http2
			s.StartTLS()
			var tunnels atomic.Int64
			e := egressProxy(t, secure, secret, &tunnels)
			through, _ := url.Parse(e.URL)
			target, _ := url.Parse(s.URL)
			roots := rootsOf(s)
			if secure {
				roots.AddCert(e.Certificate())
			}
			for _, authorization := range []string{secret, "Basic b3RoZXI6b3RoZXI="} {
				p := New(target, Options{TLS: &tls.Config{RootCAs: roots}, EgressProxy: through, EgressAuthorization: authorization})
				got, err := get(t.Context(), p, "/")
				if authorization == secret && (err != nil || got != "fine" || tunnels.Load() != 1) {
					t.Errorf("http2=%v, TLS to the proxy=%v: %q, %v through %d tunnels", http2, secure, got, err, tunnels.Load())
				}
				var e *Error
				if authorization != secret {
					if !errors.As(err, &e) || e.Cause != CauseEgress || !e.Dial || e.Stage != Unsent || !strings.Contains(err.Error(), "407") {
						t.Errorf("a refusal: %v (%+v)", err, e)
					}
					if strings.Contains(fmt.Sprintf("%v %+v", err, e), "b3RoZXI6b3RoZXI") {
						t.Error("the error shows the credentials")
					}
				}
				p.Close()
			}
			s.Close()
		}
	}
}

// Interim answers before the final one are no answer (RFC 9110 15.2).
func TestTheEgressProxyTakesItsTime(t *testing.T) {
	for _, tc := range []struct {
		answer string
		opens  bool
	}{
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", true},
		{"HTTP/1.1 102 X\r\n\r\nHTTP/1.1 403 X\r\n\r\n", false},
		{"HTTP/1.1 101 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false},
		{"HTTP/1.1 100 Continue\r\n\r\n", false},
	} {
		ours, theirs := net.Pipe()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				_, _ = io.WriteString(theirs, tc.answer)
			}
			_ = theirs.Close()
		}()
		o := Options{EgressProxy: &url.URL{Scheme: "http", Host: "proxy.test:3128"}}
		if _, err := o.Tunnel(t.Context(), ours, &url.URL{Scheme: "https", Host: "api.test"}); (err == nil) != tc.opens {
			t.Errorf("%q: %v, want a tunnel: %v", tc.answer, err, tc.opens)
		}
		_ = ours.Close()
	}
}

// A proxy that says nothing is given up with the attempt.
func TestASilentEgressProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &addresses{t: t, ways: map[string]string{"192.0.2.1": "no TLS"}}
		p := New(&url.URL{Scheme: "https", Host: "api.test"}, Options{
			Dial: a.dial, Lookup: a.lookup, EgressProxy: &url.URL{Scheme: "http", Host: "proxy.test:3128"}})
		start := time.Now()
		_, err := get(t.Context(), p, "/")
		var e *Error
		if !errors.As(err, &e) || e.Cause != CauseEgress && e.Cause != CauseTimeout || time.Since(start) > ConnectTimeout {
			t.Errorf("%v (%+v) after %v", err, e, time.Since(start))
		}
		p.Close()
		a.all.Wait()
	})
}

// scraped is what a scrape of the pool finds, by name and label.
func scraped(t *testing.T, p *Pool) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(p)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}
