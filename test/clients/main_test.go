// Package clients tests the service as its users meet it: the built binary, a
// simulated Claude API behind it, and real clients before it.
package clients

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// patience is how long a test waits for what must happen. Only a failing test
// ever waits so long.
const patience = 30 * time.Second

// A pair is the service with a simulated API behind it.
type pair struct {
	api    *sim.API
	proxy  *harness.Proxy
	client *http.Client // keeps connections; changes nothing
}

// start runs both until the test ends. The options' Upstream, CAFile, Binary
// and Dir are filled in.
func start(t testing.TB, so sim.Options, ho harness.Options) *pair {
	t.Helper()
	api, err := sim.Start(so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	ho.Upstream = api.URL()
	if ca := api.CA(); ca != nil {
		ho.CAFile = writeCA(t, ca)
	}
	p := startProxy(t, ho)
	p.api = api
	return p
}

// startProxy runs the service alone, with an upstream of the caller's.
func startProxy(t testing.TB, ho harness.Options) *pair {
	t.Helper()
	proxy := harness.Start(t, ho)
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &pair{proxy: proxy, client: client}
}

const streamRequest = `{"model":"claude-sim-1","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}`

// post sends a Messages request through the proxy. The answer's body is
// closed when the test ends.
func (p *pair) post(t testing.TB, ctx context.Context, plan sim.Plan, body string) *http.Response {
	t.Helper()
	res, err := p.send(ctx, plan, body)
	if err != nil {
		t.Fatalf("post %+v: %v", plan, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func (p *pair) send(ctx context.Context, plan sim.Plan, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.proxy.URL()+"/v1/messages?beta=true", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer sk-ant-oat01-test")
	req.Header.Set(sim.PlanHeader, plan.Encode())
	return p.client.Do(req)
}

// recorded returns what the API saw of the request with that name.
func (p *pair) recorded(t testing.TB, name string) *sim.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rec, err := p.api.Wait(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// writeCA puts an authority's certificate into a file.
func writeCA(t testing.TB, ca *sim.CA) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := ca.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// await waits until a channel closes or gives a value.
func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing in %s", what, patience)
		panic("unreachable")
	}
}

// poll asks again and again until the answer is yes.
func (p *pair) poll(t testing.TB, what string, yes func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !yes() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never in %s", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// raw sends bytes over a connection of its own and returns all that comes
// back until the other side closes, or until half a minute has passed.
func raw(t testing.TB, addr, request string) string {
	t.Helper()
	conn := dialRaw(t, addr)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatalf("send %.60q: %v", request, err)
	}
	answer, err := io.ReadAll(conn)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Errorf("%.60q: the connection stays open", request)
	}
	return string(answer)
}

func dialRaw(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readEvent reads one server-sent event with its closing blank line.
func readEvent(r *bufio.Reader) (string, error) {
	var event strings.Builder
	for {
		line, err := r.ReadString('\n')
		event.WriteString(line)
		if err != nil || strings.TrimRight(line, "\r\n") == "" {
			return event.String(), err
		}
	}
}

// canary makes a string that appears nowhere else.
func canary(prefix string) string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return prefix + hex.EncodeToString(b)
}
