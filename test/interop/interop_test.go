//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// patience bounds every wait: what takes longer hangs.
const patience = 30 * time.Second

// origin serves the pages behind the servers that are proxies, and hears which
// clients have left.
type origin struct {
	mu   sync.Mutex
	left map[string]bool
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/early": // it reads on: the server before it would take a closed connection for a fault
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Length", "9")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too large")
		_ = rc.Flush()
		_, _ = io.Copy(io.Discard, r.Body)
	case "/slow":
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "data: x\n\n")
			if http.NewResponseController(w).Flush() != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		o.gone(r.URL.RawQuery)
	case "/left":
		o.gone(r.URL.RawQuery)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(body)))
		_, _ = w.Write(body)
	}
}

func (o *origin) gone(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left[id] = true
}

func (o *origin) hasLeft(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.left[id]
}

// A front is what clients speak to: the service, or the standard library's
// reverse proxy.
type front struct {
	url    string
	client *http.Client
	origin *origin
}

// TestServers takes every server through the same acts, and fails where the
// service does worse than the standard library.
func TestServers(t *testing.T) {
	ca, err := sim.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := ca.WriteFile(caFile); err != nil {
		t.Fatal(err)
	}
	for _, v := range servers {
		for _, protocol := range []string{"h2", "http/1.1"} {
			t.Run(v.name+"/"+strings.ReplaceAll(protocol, "/", ""), func(t *testing.T) {
				o := &origin{left: map[string]bool{}}
				behind := httptest.NewServer(o)
				defer behind.Close()
				r := v.run(t, ca, behind.Listener.Addr().String(), protocol)
				proxy := harness.Start(t, harness.Options{Upstream: "https://" + r.addr, CAFile: caFile})
				ours := newFront(t, proxy.URL(), o)
				speaks(t, ours, proxy, r, protocol)
				// HTTP/1.1 has no goodbye: a request that meets the end of its
				// connection is lost to everybody.
				race := map[string]int{"h2": 3, "http/1.1": 10}[protocol]
				theirs := newFront(t, standard(t, ca, r.addr), o)
				for _, act := range []struct {
					name  string
					play  func(f *front) []error
					noise int // failures that depend on the moment
				}{
					{"bodies", (*front).intact, 0},
					{"early answers", (*front).early, race},
					{"a client that leaves", (*front).cancelled, 0},
					{"reloads", func(f *front) []error { return f.reloaded(t, v, r) }, race},
				} {
					bad := act.play(ours)
					if len(bad) == 0 {
						continue
					}
					usual := act.play(theirs)
					t.Logf("%s: %d failures, the standard library %d; first: %.300v", act.name, len(bad), len(usual), bad[0])
					if len(bad) > len(usual)+act.noise {
						t.Errorf("%s: %d failures, the standard library %d", act.name, len(bad), len(usual))
					}
				}
				goodbyes(t, proxy)
			})
		}
	}
}

func newFront(t *testing.T, url string, o *origin) *front {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &front{url, &http.Client{Transport: transport, Timeout: patience}, o}
}

// standard is the standard library's reverse proxy before a server.
func standard(t *testing.T, ca *sim.CA, addr string) string {
	transport := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: addr}) },
	})
	t.Cleanup(func() { s.Close(); transport.CloseIdleConnections() })
	return s.URL
}

// speaks makes sure that the server and the service agree on what is tested.
func speaks(t *testing.T, f *front, proxy *harness.Proxy, r *running, protocol string) {
	t.Helper()
	if err := f.echo(100); err != nil {
		text, _ := os.ReadFile(r.log)
		t.Fatalf("the first request: %v\n%s", err, text)
	}
	_, page, err := proxy.AdminGet("/metrics")
	if want := fmt.Sprintf("proxy_upstream_connections{protocol=%q} 1", protocol); err != nil || !strings.Contains(page, want) {
		t.Fatalf("it does not speak %s: %v", protocol, err)
	}
}

// goodbyes shows what the service counted.
func goodbyes(t *testing.T, proxy *harness.Proxy) {
	_, page, _ := proxy.AdminGet("/metrics")
	for line := range strings.Lines(page) {
		if (strings.HasPrefix(line, "upstream_goaways_total") || strings.HasPrefix(line, "upstream_resets_total")) && !strings.HasSuffix(line, " 0\n") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func (f *front) echo(size int) error {
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(body)
	res, err := f.client.Post(f.url+"/echo", "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("after %d bytes: %w", len(got), err)
	case res.StatusCode != 200:
		return fmt.Errorf("status %d: %.200s", res.StatusCode, got)
	case res.Header.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(body)):
		return fmt.Errorf("another body of %d bytes arrived", size)
	case !bytes.Equal(got, body):
		return fmt.Errorf("another body of %d bytes came back", size)
	}
	return nil
}

// failures are gathered by many goroutines.
type failures struct {
	mu  sync.Mutex
	all []error
}

func (l *failures) add(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, err)
}

// intact: bodies of many sizes arrive whole and come back whole, many at once.
func (f *front) intact() []error {
	var l failures
	var all sync.WaitGroup
	for worker := range 6 {
		all.Go(func() {
			for _, size := range []int{0, 1, 100 + worker, 10_000, 70_000, 300_000, 3_000_000} {
				l.add(f.echo(size))
			}
		})
	}
	all.Wait()
	return l.all
}

// early: an answer that comes before the upload's end arrives, and the next
// request is served.
func (f *front) early() []error {
	var l failures
	for range 5 {
		res, err := f.client.Post(f.url+"/early", "application/octet-stream", bytes.NewReader(make([]byte, 5<<20)))
		if err != nil {
			l.add(err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			l.add(fmt.Errorf("status %d: %s", res.StatusCode, body))
		}
		if err := f.echo(1000); err != nil {
			l.add(fmt.Errorf("afterwards: %w", err))
		}
	}
	return l.all
}

// cancelled: the server hears that a client has left.
func (f *front) cancelled() []error {
	id := fmt.Sprint("id", rand.Int())
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "GET", f.url+"/slow?"+id, nil)
	if err != nil {
		return []error{err}
	}
	res, err := f.client.Do(req)
	if err != nil {
		return []error{err}
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 20)); err != nil {
		return []error{err}
	}
	leave()
	for end := time.Now().Add(patience); !f.origin.hasLeft(id); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return []error{errors.New("it never heard that the client left")}
		}
	}
	return nil
}

// reloaded: requests go on while the server is told to reload, as at each
// deployment of an API.
func (f *front) reloaded(t *testing.T, v server, r *running) []error {
	if v.reload == 0 {
		return nil
	}
	var l failures
	var served atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 6 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f.echo(2000); err != nil {
					l.add(err)
				} else {
					served.Add(1)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		_ = r.cmd.Process.Signal(v.reload)
	}
	time.Sleep(time.Second)
	close(stop)
	all.Wait()
	t.Logf("%d served during three reloads, %d failed", served.Load(), len(l.all))
	if served.Load() < 20 {
		l.add(errors.New("hardly a request was served"))
	}
	return l.all
}
