package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/internal/upstream"
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
			testkit.Eventually(t, "the gate is empty", func() bool { return r.handler.Gate.Load().Active == 0 })
			if lost := r.handler.replay.taken(); lost != 0 {
				t.Errorf("%d bytes of the budget are lost", lost)
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
