package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anthropic-oauth-proxy/internal/upstream"
)

// What the engine fails with becomes what the client is told: how certain it is
// that nothing was processed decides, and nothing says "overloaded".
func TestWhatAClientIsTold(t *testing.T) {
	const certainly, perhaps = "was not processed", "may have been processed"
	broke := errors.New("CANARY")
	for _, tc := range []struct {
		name         string
		err          error
		cause        string
		status       int
		retry, after string
		told         string
		attempts     int // 0: more than three
	}{
		{"nobody listens", &upstream.Error{Dial: true, Cause: upstream.CauseRefused, Err: broke}, "no_connection", 502, "", "", certainly, 3},
		{"no answer to a dial", &upstream.Error{Dial: true, Cause: upstream.CauseTimeout, Err: context.DeadlineExceeded}, "no_connection", 502, "", "", certainly, 3},
		{"TLS reset", &upstream.Error{Dial: true, TLS: true, Cause: upstream.CauseReset, Err: io.EOF}, "no_tls", 502, "", "", certainly, 3},
		{"TLS timed out", &upstream.Error{Dial: true, TLS: true, Cause: upstream.CauseTimeout, Err: context.DeadlineExceeded}, "no_tls", 502, "", "", certainly, 3},
		{"TLS alert", &upstream.Error{Dial: true, TLS: true, Cause: upstream.CauseTLS, Err: broke}, "no_tls", 502, "", "", certainly, 3},
		{"a stranger's certificate", &upstream.Error{Dial: true, TLS: true, Cause: upstream.CauseCertificate, Err: broke}, "untrusted", 502, "false", "", certainly, 1},
		{"out of descriptors", &upstream.Error{Dial: true, Cause: upstream.CauseDescriptors, Err: broke}, "no_descriptors", 503, "true", "5", certainly, 3},
		{"a dead connection", &upstream.Error{Stage: upstream.Unsent, Err: broke}, "connection_dead", 503, "true", "1", certainly, 0},
		{"refused", &upstream.Error{Stage: upstream.Refused, Code: "REFUSED_STREAM", Err: broke}, "api_refused", 503, "true", "1", certainly, 0},
		{"broke", &upstream.Error{Stage: upstream.Sent, Err: broke}, "broke_early", 502, "", "", perhaps, 1},
		{"reset", &upstream.Error{Stage: upstream.Sent, Code: "INTERNAL_ERROR", Err: broke}, "broke_early", 502, "", "", perhaps, 1},
		{"no answer", &upstream.Error{Stage: upstream.Sent, Err: fmt.Errorf("%w: %w", upstream.ErrNotHTTP, broke)}, "bad_answer", 502, "", "", perhaps, 1},
		{"of no known type", broke, "broke_early", 502, "", "", perhaps, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				r := newRig(t, options{pipes: true, other: engineFunc(func(context.Context, *upstream.Request) (*upstream.Response, error) {
					tries++
					return nil, tc.err
				})})
				c := r.dial()
				begin := time.Now()
				c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
				res, body := c.answer("POST")
				took := time.Since(begin)
				if res.StatusCode != tc.status || !strings.Contains(body, `"type":"api_error"`) || !strings.Contains(body, tc.told) {
					t.Errorf("got %d %s, want %d api_error, %q", res.StatusCode, body, tc.status, tc.told)
				}
				if h := res.Header; h.Get("X-Should-Retry") != tc.retry || h.Get("Retry-After") != tc.after || res.Close {
					t.Errorf("advice %q, %q, close %v; want %q, %q", h.Get("X-Should-Retry"), h.Get("Retry-After"), res.Close, tc.retry, tc.after)
				}
				if tc.attempts > 0 && tries != tc.attempts || tc.attempts == 0 && (tries < 10 || took > insistence) {
					t.Errorf("%d attempts in %v, want %d", tries, took, tc.attempts)
				}
				if rec := r.record(); rec.Cause != tc.cause || rec.Attempts != tries {
					t.Errorf("record %+v, want the cause %s", rec, tc.cause)
				}
				if log := r.journal.String(); tc.err != broke && !strings.Contains(tc.name, "dial") && strings.Contains(log, "CANARY") != isDial(tc.err) {
					t.Errorf("log %s", log)
				}
			})
		})
	}
}

// isDial: only what failed before anything was said may be quoted.
func isDial(err error) bool {
	var failed *upstream.Error
	return errors.As(err, &failed) && failed.Dial && failed.Err.Error() == "CANARY"
}

// Who never got a place at the API by the end of its clock, or of the drain, was
// not processed, and is told so.
func TestWhoNeverGotAPlace(t *testing.T) {
	for _, tc := range []struct {
		name, body, cause string
		drains            bool
	}{
		{"a short body", "Content-Length: 4\r\n\r\nbody", "no_place", false},
		{"a long body", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", "no_place", false},
		{"at the drain's deadline", "Content-Length: 4\r\n\r\nbody", "drained_unsent", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, options{pipes: true, other: engineFunc(func(ctx context.Context, _ *upstream.Request) (*upstream.Response, error) {
					<-ctx.Done()
					return nil, &upstream.Error{Stage: upstream.Unsent, Err: context.Cause(ctx)}
				})})
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: x\r\n%s", tc.body)
				if tc.drains {
					synctest.Wait()
					r.handler.Gate.Close()
					r.handler.Gate.End(ErrDrained)
				}
				res, body := c.answer("POST")
				if res.StatusCode != 503 || res.Header.Get("X-Should-Retry") != "true" || !strings.Contains(body, "was not processed") {
					t.Errorf("got %d %v %s", res.StatusCode, res.Header, body)
				}
				if rec := r.record(); rec.Cause != tc.cause {
					t.Errorf("record %+v, want %s", rec, tc.cause)
				}
			})
		})
	}
}

// A drain that ends between two attempts says what the one before has said: only
// what may have been processed is told so.
func TestADrainBetweenAttempts(t *testing.T) {
	for _, tc := range []struct {
		name, method string
		failed       upstream.Error
		cause        string
	}{
		{"no connection", "POST", upstream.Error{Dial: true, Cause: upstream.CauseRefused}, "drained_unsent"},
		{"a dead connection", "POST", upstream.Error{Stage: upstream.Unsent}, "drained_unsent"},
		{"refused", "POST", upstream.Error{Stage: upstream.Refused}, "drained_unsent"},
		{"broke", "GET", upstream.Error{Stage: upstream.Sent}, "drained"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.failed.Err = io.EOF
				r := newRig(t, options{pipes: true, other: engineFunc(func(context.Context, *upstream.Request) (*upstream.Response, error) {
					return nil, &tc.failed
				})})
				c := r.dial()
				c.send("%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", tc.method)
				synctest.Wait() // it pauses
				r.handler.Gate.Close()
				r.handler.Gate.End(ErrDrained)
				res, body := c.answer(tc.method)
				unsent := tc.cause == "drained_unsent"
				if res.StatusCode != 503 || unsent != (res.Header.Get("X-Should-Retry") == "true") || unsent != strings.Contains(body, "was not processed") {
					t.Errorf("got %d %v %s", res.StatusCode, res.Header, body)
				}
				if rec := r.record(); rec.Cause != tc.cause || rec.Attempts != 1 {
					t.Errorf("record %+v, want %s", rec, tc.cause)
				}
			})
		})
	}
}

// A request that the API refuses again and again goes through as soon as it is
// taken, and a client that leaves meanwhile ends it.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, options{pipes: true, other: engineFunc(func(context.Context, *upstream.Request) (*upstream.Response, error) {
			return nil, &upstream.Error{Stage: upstream.Refused, Err: io.EOF}
		})})
		c := r.dial()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
		time.Sleep(insistence / 4)
		_ = c.Close()
		rec := r.record()
		if rec.Outcome != "client_gone" || rec.In != "wait" || rec.Status != statusClientGone {
			t.Errorf("record %+v", rec)
		}
	})
}

// Refusals of the door and of the policy come in the API's envelope.
func TestRefusalsOfTheHead(t *testing.T) {
	o, _ := mirror(t, "HTTP/1.1 204 No Content\r\n\r\n")
	o.limits.MaxBodyBytes = 10
	r := newRig(t, o)
	for _, tc := range []struct {
		head, cause string
		status      int
	}{
		{"GET x HTTP/1.1\r\nHost: x\r\n\r\n", "unforwardable", 400},
		{"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", "no_tunnel", 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "rules_broken", 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world", "too_large", 413},
	} {
		c := r.dial()
		c.send("%s", tc.head)
		res, body := c.answer("GET")
		if res.StatusCode != tc.status || !res.Close {
			t.Errorf("%.20q: status %d, close %v", tc.head, res.StatusCode, res.Close)
		}
		rec := r.record()
		if rec.Cause != tc.cause || rec.By != "client" || rec.In != "admit" || !strings.Contains(body, rec.ID) || res.Header.Get(requestIDHeader) != rec.ID {
			t.Errorf("%.20q: record %+v, %s", tc.head, rec, body)
		}
	}
}
