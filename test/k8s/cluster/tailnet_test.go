//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/envknob"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/tstest/integration"
	"tailscale.com/tstest/integration/testcontrol"

	"anthropic-oauth-proxy/test/sim"
)

// isolation keeps tailscale's code off every other network: in the sidecar by
// its environment, in this process by envknob.
func isolation(host string) map[string]string {
	return map[string]string{
		"TS_NO_LOGS_NO_SUPPORT":         "true",
		"TS_DISABLE_PORTMAPPER":         "1",
		"TS_PANIC_IF_HIT_MAIN_CONTROL":  "1",
		"TS_ASSUME_NETWORK_UP_FOR_TEST": "1",
		"TS_NETCHECK_GENERATE_204_URL":  "http://" + host + ":9/generate_204", // discard: nobody answers
	}
}

func quiet(string, ...any) {}

// A tailnet is everything outside the cluster: the coordination server, the
// relay, a calling node and the simulated API.
type tailnet struct {
	host    string // this machine, as the pods reach it
	control *testcontrol.Server
	login   string // the coordination server's URL
	api     *sim.API
	ca      string // a file: who signed the API's certificate
	caller  *http.Client
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // into the tailnet
	proxy   string                                                               // an HTTP proxy into the tailnet, for curl
	// pods is the address that the last node other than this machine had.
	pods atomic.Value
}

func startTailnet(t *testing.T, host string) *tailnet {
	for name, value := range isolation(host) {
		envknob.Setenv(name, value)
	}
	n := &tailnet{host: host}
	n.control = &testcontrol.Server{
		Logf: quiet, DERPMap: integration.RunDERPAndSTUN(t, quiet, host), MagicDNSDomain: "lab.ts.net",
		DNSConfig: &tailcfg.DNSConfig{Proxied: true, Domains: []string{"lab.ts.net"}}, AllOnline: true,
	}
	n.control.DERPMap.OmitDefaultRegions = true
	server := &httptest.Server{Listener: listen(t, host), Config: &http.Server{Handler: http.HandlerFunc(n.serveControl), ErrorLog: log.New(io.Discard, "", 0)}}
	n.control.HTTPTestServer = server
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	n.login = server.URL
	n.startAPI(t)
	n.startCaller(t)
	return n
}

// serveControl notes where nodes come from.
func (n *tailnet) serveControl(w http.ResponseWriter, r *http.Request) {
	if from, _, err := net.SplitHostPort(r.RemoteAddr); err == nil && from != n.host {
		n.pods.Store(from)
	}
	n.control.ServeHTTP(w, r)
}

func listen(t *testing.T, host string) net.Listener {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (n *tailnet) startAPI(t *testing.T) {
	ca, err := sim.NewCA(net.ParseIP(n.host))
	if err != nil {
		t.Fatal(err)
	}
	n.ca = t.TempDir() + "/ca.pem"
	if err := ca.WriteFile(n.ca); err != nil {
		t.Fatal(err)
	}
	if n.api, err = sim.Start(sim.Options{Addr: net.JoinHostPort(n.host, "0"), CA: ca}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.api.Close)
	n.api.SetPlan(unauthorized)
}

// unauthorized is as the real API: who brings no credential gets 401.
func unauthorized(r *http.Request) sim.Plan {
	if r.Header.Get("Authorization") == "" {
		return sim.Plan{Status: http.StatusUnauthorized}
	}
	return sim.Plan{}
}

func (n *tailnet) startCaller(t *testing.T) {
	node := &tsnet.Server{
		Dir: t.TempDir(), Hostname: "ai", ControlURL: n.login, AuthKey: "tskey-auth-caller", Ephemeral: true,
		Logf: quiet, UserLogf: quiet,
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := node.Up(ctx); err != nil {
		t.Fatalf("start caller: %v", err)
	}
	t.Cleanup(func() { node.Close() })
	transport := &http.Transport{DialContext: node.Dial, DisableKeepAlives: true, DisableCompression: true}
	n.caller, n.dial = &http.Client{Transport: transport}, node.Dial
	forward := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorLog: log.New(io.Discard, "", 0)})
	t.Cleanup(forward.Close)
	n.proxy = forward.URL
}

// A stream is one streamed request of the caller, under way.
type stream struct {
	name string
	done chan struct{}
	body string // valid after done
	err  error
}

// deltas is how many content events a test's stream has.
const deltas = 10

// complete is a whole stream.
var complete = strings.Join(sim.Events(deltas), "")

// open starts gated streams by the proxy's MagicDNS name and returns when the
// API has each request. Every event then waits for the API's Release.
func (n *tailnet) open(t *testing.T, prefix string, count int) []*stream {
	t.Helper()
	streams := make([]*stream, count)
	for i := range streams {
		s := &stream{name: fmt.Sprintf("%s-%d", prefix, i), done: make(chan struct{})}
		streams[i] = s
		plan := sim.Plan{Name: s.name, Deltas: deltas, Gated: true, Stream: true}
		go func() {
			defer close(s.done)
			s.body, s.err = n.call(t.Context(), plan)
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range streams {
		if _, err := n.api.Wait(ctx, s.name); err != nil {
			t.Fatalf("stream %s did not reach the API: %v", s.name, err)
		}
	}
	return streams
}

// call makes one request with a credential and returns the answer's body.
func (n *tailnet) call(ctx context.Context, plan sim.Plan) (string, error) {
	return n.callAt(ctx, "anthropic-oauth-proxy", plan)
}

// callAt is call by another name on the tailnet.
func (n *tailnet) callAt(ctx context.Context, host string, plan sim.Plan) (string, error) {
	target := url.URL{Scheme: "http", Host: host + ":8080", Path: "/v1/messages", RawQuery: "beta=true"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(`{"stream":true}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer sk-ant-oat01-caller")
	req.Header.Set("anthropic-beta", "claude-code-20250219")
	req.Header.Set(sim.PlanHeader, plan.Encode())
	res, err := n.caller.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return string(body), fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return string(body), err
}

// release lets n events of every stream go.
func (n *tailnet) release(streams []*stream, events int) {
	for _, s := range streams {
		n.api.Release(s.name, events)
	}
}

// finish lets everything go and counts the streams that ended whole.
func (n *tailnet) finish(t *testing.T, streams []*stream) (whole int) {
	t.Helper()
	n.release(streams, len(sim.Events(deltas)))
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { <-s.done })
	}
	wg.Wait()
	for _, s := range streams {
		if s.err == nil && s.body == complete {
			whole++
		} else {
			t.Logf("stream %s: %v, %d of %d bytes", s.name, s.err, len(s.body), len(complete))
		}
	}
	return whole
}
