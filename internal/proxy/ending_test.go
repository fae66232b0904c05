package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The drain's deadline ends every stream, wherever it stands.
func TestDrainEndsStreams(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			begun := make(chan struct{}, 2)
			left := make(chan struct{}, 2)
			r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/stream" {
					w.Header().Set("Content-Type", "text/event-stream")
					_, _ = io.WriteString(w, "data: x\n\n")
					w.(http.Flusher).Flush()
				}
				begun <- struct{}{}
				<-req.Context().Done()
				left <- struct{}{}
			}))
			stream, waiting := r.dial(), r.dial()
			stream.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
			waiting.send("GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n")
			<-begun
			<-begun
			head := stream.head("GET")
			event := make([]byte, len("data: x\n\n"))
			if _, err := io.ReadFull(head.Body, event); err != nil {
				t.Fatal(err)
			}
			gate := r.handler.Gate
			gate.Close()
			late := r.dial()
			late.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
			if res, body := late.answer("GET"); res.StatusCode != 503 || !res.Close || res.Header.Get("Retry-After") != "1" ||
				res.Header.Get("X-Should-Retry") != "true" || !strings.Contains(body, "api_error") || !strings.Contains(body, "was not processed") {
				t.Errorf("a late request: %d %v %s", res.StatusCode, res.Header, body)
			}
			gate.End(ErrDrained)
			if body, err := io.ReadAll(head.Body); err == nil || len(body) > 0 {
				t.Errorf("the stream: %q, %v; want it broken, and nothing of ours", body, err)
			}
			if res, body := waiting.answer("GET"); res.StatusCode != 503 || !res.Close || !strings.Contains(body, "may have been processed") || res.Header.Get("X-Should-Retry") != "" {
				t.Errorf("the one that waited for its head: %d %v %s, want 503 without advice", res.StatusCode, res.Header, body)
			}
			<-left
			<-left
			<-gate.Idle()
			outcomes := map[string]int{}
			for range 3 {
				outcomes[r.record().Outcome]++
			}
			if outcomes["drained"] != 2 || outcomes["refused"] != 1 {
				t.Errorf("outcomes %v, want 2 drained and 1 refused", outcomes)
			}
		})
	}
}

// A client that leaves is gone upstream too, at once and without a trace.
func TestAClientThatLeaves(t *testing.T) {
	for _, protocol := range protocols {
		for _, http1 := range []bool{true, false} {
			for _, stage := range []string{"waiting", "streaming", "uploading"} {
				t.Run(fmt.Sprintf("%s/http1=%v/%s", protocol, http1, stage), func(t *testing.T) {
					begun, left := make(chan struct{}), make(chan time.Time, 1)
					r := newRig(t, served(t, protocol, func(w http.ResponseWriter, req *http.Request) {
						if stage != "uploading" {
							_, _ = io.Copy(io.Discard, req.Body)
						}
						if stage == "streaming" {
							w.WriteHeader(200)
							w.(http.Flusher).Flush()
						}
						close(begun)
						if stage == "uploading" {
							_, _ = io.Copy(io.Discard, req.Body)
						} else {
							<-req.Context().Done()
						}
						left <- time.Now()
					}))
					ctx, cancel := context.WithCancel(t.Context())
					var body io.Reader = strings.NewReader("body")
					pr, pw := io.Pipe()
					if stage == "uploading" {
						body = pr
						go func() { _, _ = pw.Write(make([]byte, 10)) }()
					}
					req, _ := http.NewRequestWithContext(ctx, "POST", r.url("/"), body)
					done := make(chan struct{})
					go func() {
						defer close(done)
						if res, err := r.client(http1).Do(req); err == nil {
							_, _ = io.Copy(io.Discard, res.Body)
							_ = res.Body.Close()
						}
					}()
					<-begun
					cancel()
					at := time.Now()
					select {
					case when := <-left:
						t.Logf("the API heard of it after %v", when.Sub(at))
					case <-time.After(patience):
						t.Fatal("the API never heard of it")
					}
					_ = pw.Close() // net/http's client waits for its body
					<-done
					if rec := r.record(); rec.Outcome != "client_gone" || rec.Status != 499 {
						t.Errorf("record %+v, want client_gone, 499", rec)
					}
				})
			}
		}
	}
}
