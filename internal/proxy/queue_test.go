package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/testkit"
)

// held is an API that holds each request until its path is let go.
type held struct {
	mu      sync.Mutex
	arrived []string
	free    chan struct{}
}

func newHeld() *held { return &held{free: make(chan struct{})} }

func (h *held) serve(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	h.mu.Lock()
	h.arrived = append(h.arrived, req.URL.Path)
	h.mu.Unlock()
	select {
	case <-h.free:
	case <-req.Context().Done():
	}
}

func (h *held) seen() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.arrived, " ")
}

// Who waits is served in order; who leaves is forgotten, and nothing of it goes
// upstream.
func TestTheQueue(t *testing.T) {
	for _, size := range []int{0, 100, 400 << 10, 1 << 20} {
		for _, http1 := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, http1=%v", size, http1), func(t *testing.T) {
				api := newHeld()
				o := served(t, "plain", api.serve)
				o.places, o.queue = 1, patience
				r := newRig(t, o)
				client := r.client(http1)
				ask := func(ctx context.Context, path string) {
					req, _ := http.NewRequestWithContext(ctx, "POST", r.url(path), strings.NewReader(strings.Repeat("b", size)))
					if res, err := client.Do(req); err == nil {
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				}
				var all sync.WaitGroup
				all.Go(func() { ask(t.Context(), "/0") })
				testkit.Eventually(t, "the first is in", func() bool { return api.seen() == "/0" })
				leaving, leave := context.WithCancel(t.Context())
				left := make(chan struct{})
				for i, path := range []string{"/1", "/leaves", "/2", "/3"} {
					all.Go(func() {
						if path != "/leaves" {
							ask(t.Context(), path)
							return
						}
						ask(leaving, path)
						close(left)
					})
					testkit.Eventually(t, path+" waits", func() bool { return r.handler.Gate.Load().Waiting == i+1 })
				}
				leave()
				<-left // its connection is closed: until then it may still be served
				if size <= readAheadLimit || !http1 {
					testkit.Eventually(t, "the one that left is forgotten", func() bool { return r.handler.Gate.Load().Waiting == 3 })
				}
				close(api.free)
				all.Wait()
				if got := api.seen(); got != "/0 /1 /2 /3" {
					t.Errorf("the API saw %q, want /0 /1 /2 /3", got)
				}
				outcomes := map[string]int{}
				for range 5 {
					outcomes[r.record().Outcome]++
				}
				if outcomes["completed"] != 4 || outcomes["client_gone"] != 1 {
					t.Errorf("outcomes %v", outcomes)
				}
			})
		}
	}
}

// Callers take turns: ten requests of one hold up another's by one place, on one
// connection or on many, by credential or by node.
func TestTheLineIsFair(t *testing.T) {
	for _, by := range []string{"credential", "connection", "node"} {
		t.Run(by, func(t *testing.T) {
			api := newHeld()
			o := served(t, "plain", api.serve)
			o.places, o.queue = 1, patience
			var node atomic.Pointer[string]
			if by == "node" {
				o.identify = func(edge.Client) (Caller, bool) { return Caller{Node: *node.Load()}, true }
			}
			r := newRig(t, o)
			// Over HTTP/2, so that each has one connection for all.
			peers := map[string]*http.Client{"greedy": r.h2c(), "modest": r.h2c()}
			var all sync.WaitGroup
			ask := func(who, path string) {
				node.Store(&who)
				req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url(path), nil)
				peer := peers[who]
				if by != "connection" {
					req.Header.Set("Authorization", "Bearer sk-ant-oat01-"+who)
					peer = peers["greedy"]
				}
				all.Go(func() {
					res, err := peer.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					_ = res.Body.Close()
				})
			}
			ask("greedy", "/0")
			testkit.Eventually(t, "the first is in", func() bool { return api.seen() == "/0" })
			for i, path := range []string{"/g1", "/g2", "/g3", "/g4", "/g5", "/m1", "/m2"} {
				who := "greedy"
				if path[1] == 'm' {
					who = "modest"
				}
				ask(who, path)
				testkit.Eventually(t, path+" waits", func() bool { return r.handler.Gate.Load().Waiting == i+1 })
			}
			close(api.free)
			all.Wait()
			if got, want := api.seen(), "/0 /g1 /m1 /g2 /m2 /g3 /g4 /g5"; got != want {
				t.Errorf("the API saw %q, want %q", got, want)
			}
		})
	}
}

func TestNoQueue(t *testing.T) {
	api := newHeld()
	o := served(t, "plain", api.serve)
	o.places, o.queue = 1, 0
	r := newRig(t, o)
	first := r.dial()
	first.send("GET /0 HTTP/1.1\r\nHost: x\r\n\r\n")
	testkit.Eventually(t, "the first is in", func() bool { return api.seen() == "/0" })
	begin := time.Now()
	c := r.dial()
	c.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, body := c.answer("GET"); res.StatusCode != 503 || !strings.Contains(body, "api_error") || res.Header.Get("X-Should-Retry") != "true" {
		t.Errorf("status %d %s, want 503", res.StatusCode, body)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("the refusal took %v", took)
	}
	// Own pages never wait.
	if res, err := r.http1().Get(r.url("/health")); err != nil || res.StatusCode != 200 {
		t.Errorf("health: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	close(api.free)
	first.head("GET")
}

// The table of classes shows kinds, never a credential.
func TestRecords(t *testing.T) {
	const secret = "sk-ant-oat01-CANARY"
	for _, tc := range []struct{ name, fields, want string }{
		{"none", "", "none"},
		{"oauth", "Authorization: Bearer " + secret + "\r\n", "oauth"},
		{"key in authorization", "Authorization: Bearer sk-ant-api03-CANARY\r\n", "api_key"},
		{"key", "X-Api-Key: sk-ant-api03-CANARY\r\n", "api_key"},
		{"dash", "Authorization: Bearer -\r\n", "placeholder"},
		{"empty", "Authorization:\r\n", "placeholder"},
		{"bearer alone", "Authorization: Bearer\r\n", "placeholder"},
		{"empty key", "X-Api-Key:\r\n", "placeholder"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, _ := mirror(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRequest-Id: req_up-1\r\nX-Secret: "+secret+"\r\n\r\n")
			r := newRig(t, o)
			c := r.dial()
			c.send("POST /v1/x?q=CANARY HTTP/1.1\r\nHost: CANARY\r\n%sX-Other: CANARY\r\nContent-Length: 6\r\n\r\nCANARY", tc.fields)
			res, _ := c.answer("POST")
			rec := r.record()
			want := line{Status: 200, Outcome: "completed", By: "upstream", In: "stream", Attempts: 1, RequestBytes: 6, UpstreamID: "req_up-1",
				Credential: tc.want, Path: "/v1/x", Method: "POST", ID: res.Header.Get("X-Proxy-Request-Id")}
			if rec != want || want.ID == "" {
				t.Errorf("got  %+v\nwant %+v", rec, want)
			}
			if log := r.journal.String(); strings.Contains(log, "CANARY") {
				t.Errorf("a value is in the log: %s", log)
			}
		})
	}
}

func TestUpstreamIDsAreChecked(t *testing.T) {
	for _, id := range []string{"", "a b", "a\"b", "<x>", strings.Repeat("x", 129), "req_é"} {
		o, _ := mirror(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRequest-Id: "+id+"\r\n\r\n")
		r := newRig(t, o)
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if res := c.head("GET"); res.Header.Get("Request-Id") != id {
			t.Errorf("%q: the client got %q", id, res.Header.Get("Request-Id"))
		}
		if rec := r.record(); rec.UpstreamID != "" {
			t.Errorf("%q is in the log", id)
		}
	}
}
