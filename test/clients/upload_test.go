package clients

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// Uploads that are under way at SIGTERM are requests in flight, whatever their
// size: each is waited for, and the process ends when the last is answered.
func TestDrainWaitsForUploads(t *testing.T) {
	sizes := []int{100, 200 << 10, 2 << 20, 8 << 20}
	for _, http1 := range []bool{true, false} {
		t.Run(fmt.Sprintf("http1=%v", http1), func(t *testing.T) {
			p := start(t, sim.Options{}, harness.Options{Proxy: "drain_timeout_secs = 60"})
			var protocols http.Protocols
			protocols.SetHTTP1(http1)
			protocols.SetUnencryptedHTTP2(!http1)
			transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
			t.Cleanup(transport.CloseIdleConnections)
			client := &http.Client{Transport: transport}
			bodies := make([]*io.PipeWriter, len(sizes))
			answers := make([]chan string, len(sizes))
			for i, size := range sizes {
				pr, pw := io.Pipe()
				bodies[i], answers[i] = pw, make(chan string, 1)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.proxy.URL()+"/v1/messages", pr)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = int64(size)
				req.Header.Set(sim.PlanHeader, sim.Plan{Name: fmt.Sprint(size)}.Encode())
				go func() {
					res, err := client.Do(req)
					if err != nil {
						answers[i] <- err.Error()
						return
					}
					defer res.Body.Close()
					body, err := io.ReadAll(res.Body)
					answers[i] <- fmt.Sprint(res.StatusCode, " ", string(body), " ", err)
				}()
				if _, err := pw.Write(make([]byte, size/2)); err != nil {
					t.Fatal(err)
				}
			}
			p.poll(t, "all uploads are known", func() bool {
				_, streams, err := p.proxy.AdminGet("/debug/streams")
				return err == nil && strings.Count(streams, `"upload"`) == len(sizes)
			})
			p.drain(t)
			for i, size := range sizes {
				if _, err := bodies[i].Write(make([]byte, size-size/2)); err != nil {
					t.Errorf("%d bytes: %v", size, err)
				}
				_ = bodies[i].Close()
				if got := await(t, "answer", answers[i]); !strings.HasPrefix(got, "200 ") || !strings.HasSuffix(got, " <nil>") {
					t.Errorf("%d bytes: the client got %.200q", size, got)
				}
				if rec := p.recorded(t, fmt.Sprint(size)); rec.BodyBytes != int64(size) {
					t.Errorf("%d bytes: the API got %d", size, rec.BodyBytes)
				}
			}
			p.exit(t)
		})
	}
}
