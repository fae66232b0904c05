package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/proxy/upstream"
)

func TestBodyLimit(t *testing.T) {
	const limit = 600 << 10
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var whole atomic.Int64
			o := served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				if n, err := io.Copy(io.Discard, req.Body); err == nil {
					whole.Store(n)
				}
			})
			o.limits.MaxBodyBytes = limit
			r := newRig(t, o)
			for _, tc := range []struct {
				name   string
				size   int64
				length bool
				status int
			}{
				{"at the limit", limit, true, 200},
				{"at the limit, chunked", limit, false, 200},
				{"over", limit + 1, true, 413},
				{"over, chunked", limit + 1, false, 413},
				{"far over", 50 * limit, true, 413},
				{"far over, chunked", 50 * limit, false, 413},
			} {
				for _, http1 := range []bool{true, false} {
					whole.Store(-1)
					req, _ := http.NewRequest("POST", r.url("/v1/files"), io.LimitReader(zeros{}, tc.size))
					if tc.length {
						req.ContentLength = tc.size
					}
					res, err := r.client(http1).Do(req)
					if err != nil {
						t.Errorf("%s, http1=%v: %v", tc.name, http1, err)
						r.record()
						continue
					}
					body, _ := io.ReadAll(res.Body)
					_ = res.Body.Close()
					rec := r.record()
					if res.StatusCode != tc.status {
						t.Errorf("%s, http1=%v: status %d %s, want %d", tc.name, http1, res.StatusCode, body, tc.status)
					}
					if tc.status == 413 && (!strings.Contains(string(body), "request_too_large") || rec.ErrorType != "too_large" || rec.Outcome != "refused" || whole.Load() >= 0) {
						t.Errorf("%s, http1=%v: %s, record %+v, the API got %d bytes", tc.name, http1, body, rec, whole.Load())
					}
					if tc.status == 200 && whole.Load() != tc.size {
						t.Errorf("%s, http1=%v: the API got %d bytes, want %d", tc.name, http1, whole.Load(), tc.size)
					}
				}
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Bodies whose framing cannot be read are refused, and nobody upstream takes
// them for whole.
func TestMalformedBodies(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var whole atomic.Int64
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				if _, err := io.Copy(io.Discard, req.Body); err == nil {
					whole.Add(1)
				}
			}))
			for name, body := range map[string]string{
				"no length":      "zz\r\nbody\r\n0\r\n\r\n",
				"negative":       "-4\r\nbody\r\n0\r\n\r\n",
				"wrong length":   "3\r\nbody\r\n0\r\n\r\n",
				"huge length":    "fffffffffffffffff\r\nbody\r\n0\r\n\r\n",
				"broken trailer": "4\r\nbody\r\n0\r\nno colon\r\n\r\n",
			} {
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", body)
				if res := c.head("POST"); res.StatusCode != 400 || !res.Close {
					t.Errorf("%s: status %d, close %v; want 400 and close", name, res.StatusCode, res.Close)
				}
				if rec := r.record(); rec.Outcome != "refused" || rec.ErrorType != "invalid_request" {
					t.Errorf("%s: record %+v", name, rec)
				}
			}
			// A body that just ends.
			for _, framing := range []string{"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", "Content-Length: 9\r\n\r\nbody", "Content-Length: 999999\r\n\r\nbody"} {
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: x\r\n%s", framing)
				_ = c.Close()
				if rec := r.record(); rec.Outcome != "client_gone" {
					t.Errorf("%.12q: record %+v, want client_gone", framing, rec)
				}
			}
			if n := whole.Load(); n != 0 {
				t.Errorf("the API took %d of them for whole", n)
			}
		})
	}
}

// engineFunc is an engine made of a function.
type engineFunc func(ctx context.Context, req *upstream.Request) (*upstream.Response, error)

func (f engineFunc) RoundTrip(ctx context.Context, req *upstream.Request) (*upstream.Response, error) {
	return f(ctx, req)
}

// Whatever becomes of a request, its place and its memory come back; newRig
// looks at the budget when a test ends.
func TestNothingIsLostWithABug(t *testing.T) {
	for name, engine := range map[string]engineFunc{
		"panic with a value": func(context.Context, *upstream.Request) (*upstream.Response, error) { panic("CANARY") },
		"panic with an error": func(context.Context, *upstream.Request) (*upstream.Response, error) {
			panic(errors.New("CANARY"))
		},
		"panic in the body": func(context.Context, *upstream.Request) (*upstream.Response, error) {
			return &upstream.Response{Status: 200, ContentLength: -1, Body: bomb{}}, nil
		},
		"error": func(context.Context, *upstream.Request) (*upstream.Response, error) {
			return nil, &upstream.Error{Stage: upstream.Sent, Err: errors.New("CANARY")}
		},
		"error of no known type": func(context.Context, *upstream.Request) (*upstream.Response, error) {
			return nil, io.ErrUnexpectedEOF
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{other: engine, places: 4})
			for _, size := range []int{0, 100, 400 << 10} {
				for _, http1 := range []bool{true, false} {
					res, err := r.client(http1).Post(r.url("/"), "", strings.NewReader(strings.Repeat("b", size)))
					if err == nil {
						_, err = io.ReadAll(res.Body)
						_ = res.Body.Close()
						if err == nil && res.StatusCode < 500 {
							t.Errorf("%d bytes, http1=%v: status %d, whole; want an error", size, http1, res.StatusCode)
						}
					}
					rec := r.record()
					if rec.Outcome != "upstream_error" || rec.ErrorType == "" || rec.Status == 0 {
						t.Errorf("%d bytes, http1=%v: record %+v", size, http1, rec)
					}
				}
			}
			eventually(t, "the gate is empty", func() bool { return r.handler.Gate.Load().Active == 0 })
			if left := r.handler.replay.left.Load(); left != replayBudget {
				t.Errorf("%d bytes of the budget are lost", replayBudget-left)
			}
			if strings.Contains(r.journal.String(), "CANARY") {
				t.Error("a panic's value is in the log")
			}
			if n := strings.Count(r.journal.String(), `"event":"request"`); n != 6 {
				t.Errorf("%d access lines, want 6", n)
			}
		})
	}
}

type bomb struct{}

func (bomb) Read([]byte) (int, error) { panic("CANARY") }
func (bomb) Close() error             { return nil }

// Past the budget a request goes through all the same.
func TestBudgetExhausted(t *testing.T) {
	r := newRig(t, served(t, "plain", func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	if !r.handler.replay.take(replayBudget) {
		t.Fatal("the budget is not whole")
	}
	if got, err := post(r.http1(), r.url("/"), make([]byte, 1000)); err != nil || got != "1000" {
		t.Errorf("got %q, %v", got, err)
	}
	r.handler.replay.give(replayBudget)
}

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
				eventually(t, "the first is in", func() bool { return api.seen() == "/0" })
				leaving, leave := context.WithCancel(t.Context())
				for i, path := range []string{"/1", "/leaves", "/2", "/3"} {
					ctx := t.Context()
					if path == "/leaves" {
						ctx = leaving
					}
					all.Go(func() { ask(ctx, path) })
					eventually(t, path+" waits", func() bool { return r.handler.Gate.Load().Waiting == i+1 })
				}
				leave()
				if size <= readAheadLimit || !http1 {
					eventually(t, "the one that left is forgotten", func() bool { return r.handler.Gate.Load().Waiting == 3 })
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

func TestNoQueue(t *testing.T) {
	api := newHeld()
	o := served(t, "plain", api.serve)
	o.places, o.queue = 1, 0
	r := newRig(t, o)
	first := r.dial()
	first.send("GET /0 HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the first is in", func() bool { return api.seen() == "/0" })
	begin := time.Now()
	c := r.dial()
	c.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, body := c.answer("GET"); res.StatusCode != 503 || !strings.Contains(body, "overloaded_error") {
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
			want := line{Status: 200, Outcome: "completed", Attempts: 1, RequestBytes: 6, UpstreamID: "req_up-1",
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
