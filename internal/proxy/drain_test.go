package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// An upload that is under way when a drain begins is waited for, whatever its
// size and framing: the gate knows a request from its head on.
func TestUploadsAreInTheTable(t *testing.T) {
	for _, size := range []int{100, 200 << 10, 2 << 20, 8 << 20} {
		for _, declared := range []bool{true, false} {
			for _, http1 := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d bytes/declared=%v/http1=%v", size, declared, http1), func(t *testing.T) {
					r := newRig(t, served(t, "plain", func(w http.ResponseWriter, req *http.Request) {
						n, _ := io.Copy(io.Discard, req.Body)
						_, _ = fmt.Fprint(w, n)
					}))
					pr, pw := io.Pipe()
					req, _ := http.NewRequest("POST", r.url("/"), pr)
					if declared {
						req.ContentLength = int64(size)
					}
					answered := make(chan string, 1)
					go func() {
						res, err := r.client(http1).Do(req)
						if err != nil {
							answered <- err.Error()
							return
						}
						body, err := io.ReadAll(res.Body)
						_ = res.Body.Close()
						answered <- fmt.Sprint(res.StatusCode, " ", string(body), " ", err)
					}()
					if _, err := pw.Write(make([]byte, size/2)); err != nil {
						t.Fatal(err)
					}
					gate := r.handler.Gate
					testkit.Eventually(t, "the gate knows it", func() bool { return gate.Load().Left() == 1 })
					gate.Close()
					select {
					case <-gate.Idle():
						t.Fatal("the drain does not wait for it")
					default:
					}
					_, _ = pw.Write(make([]byte, size-size/2))
					_ = pw.Close()
					if got, want := <-answered, fmt.Sprintf("200 %d <nil>", size); got != want {
						t.Errorf("the client got %q, want %q", got, want)
					}
					if rec := r.record(); rec.Outcome != "completed" {
						t.Errorf("record %+v", rec)
					}
					<-gate.Idle()
				})
			}
		}
	}
}

// One that is not over by the deadline is told so, and it is nobody's fault.
func TestUploadsAtTheDeadline(t *testing.T) {
	for _, size := range []int{100, 200 << 10, 2 << 20} {
		for _, http1 := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes/http1=%v", size, http1), func(t *testing.T) {
				short := size <= readAheadLimit
				begun := make(chan struct{})
				r := newRig(t, served(t, "plain", func(_ http.ResponseWriter, req *http.Request) {
					close(begun)
					_, _ = io.Copy(io.Discard, req.Body)
				}))
				pr, pw := io.Pipe()
				defer pw.Close()
				req, _ := http.NewRequest("POST", r.url("/"), pr)
				req.ContentLength = int64(size)
				type answer struct {
					*http.Response
					body string
					err  error
				}
				answered := make(chan answer, 1)
				go func() {
					res, err := r.client(http1).Do(req)
					if err != nil {
						answered <- answer{err: err}
						return
					}
					body, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					answered <- answer{res, string(body), err}
				}()
				_, _ = pw.Write(make([]byte, size/2))
				gate := r.handler.Gate
				testkit.Eventually(t, "the gate knows it", func() bool { return gate.Load().Left() == 1 })
				if !short {
					<-begun // it may be processed now
				}
				gate.Close()
				gate.End(ErrDrained)
				got := <-answered
				if got.err != nil || got.StatusCode != 503 || !strings.Contains(got.body, "api_error") {
					t.Fatalf("got %v, %v", got.body, got.err)
				}
				if retry := got.Header.Get("X-Should-Retry"); short != (retry == "true") || short != strings.Contains(got.body, "was not processed") {
					t.Errorf("x-should-retry %q, %s", retry, got.body)
				}
				if rec := r.record(); rec.Outcome != "drained" || rec.By != "proxy" || rec.In != "upload" {
					t.Errorf("record %+v", rec)
				}
				select {
				case <-gate.Idle():
				case <-time.After(patience):
					t.Error("it is still in the table")
				}
			})
		}
	}
}
