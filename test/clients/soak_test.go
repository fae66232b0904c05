package clients

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
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

// The API answers before it has read the request: the case in which a plain
// ReverseProxy loses streams. Both cores are busy with clients, proxy and API
// side by side.
func TestSoakEarlyAnswers(t *testing.T) {
	ca, err := sim.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := ca.WriteFile(caFile); err != nil {
		t.Fatal(err)
	}
	for name, authority := range map[string]*sim.CA{"plain": nil, "tls1": ca} {
		early, err := sim.StartEarly(authority)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(early.Close)
		p := startProxy(t, harness.Options{Upstream: early.URL(), CAFile: caFile, LogLevel: "warn"})
		soak(t, p, name, 5_000, sim.Plan{}, early.Total)
	}
	p := start(t, sim.Options{}, harness.Options{LogLevel: "warn"})
	soak(t, p, "tls2", 10_000, sim.Plan{Early: true, Stream: true}, p.api.Total)
}

// soak runs short streams, 48 at a time, and allows none to break. With SOAK
// set there are four times as many.
func soak(t *testing.T, p *pair, name string, streams int, plan sim.Plan, arrived func() int) {
	t.Helper()
	if os.Getenv("SOAK") != "" {
		streams *= 4
	}
	bodies := []string{pad(1 << 10), pad(8 << 10), pad(1 << 10), pad(40 << 10), pad(2 << 10), pad(200 << 10)}
	want := strings.Join(sim.Events(3), "")
	var broken, slowest atomic.Int64
	var workers sync.WaitGroup
	todo := make(chan int, streams)
	for i := range streams {
		todo <- i
	}
	close(todo)
	began := time.Now()
	for range 48 {
		workers.Go(func() {
			for i := range todo {
				start := time.Now()
				if err := p.stream(t, plan, bodies[i%len(bodies)], want); err != nil && broken.Add(1) <= 5 {
					t.Errorf("%s, stream %d: %v", name, i, err)
				}
				for took, old := int64(time.Since(start)), slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); {
					old = slowest.Load()
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%s: %d of %d streams broken, in %s, the slowest in %s", name, broken.Load(), streams,
		time.Since(began).Round(time.Millisecond), time.Duration(slowest.Load()).Round(time.Millisecond))
	if n := arrived(); n != streams {
		t.Errorf("%s: %d requests arrived for %d streams", name, n, streams)
	}
}

// pad makes a request body of about n bytes.
func pad(n int) string {
	return strings.Replace(streamRequest, "hello", strings.Repeat("x", n), 1)
}

// stream runs one request and compares its answer to the last byte.
func (p *pair) stream(t *testing.T, plan sim.Plan, body, want string) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := p.send(ctx, plan, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", len(got), len(want), err)
	}
	if string(got) != want {
		return fmt.Errorf("got %d bytes %.80q, want %d", len(got), got, len(want))
	}
	return nil
}

const memoryBudget = 128 << 20

func TestSoakUploads(t *testing.T) {
	const uploads, size = 100, 32 << 20
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{Proxy: "max_body_mib = 64"})
		began := time.Now()
		var workers sync.WaitGroup
		for i := range uploads {
			workers.Go(func() {
				if err := p.upload(t, fmt.Sprintf("upload-%d", i), size, i); err != nil {
					t.Errorf("%s upload %d: %v", protocol, i, err)
				}
			})
		}
		workers.Wait()
		peak, err := p.proxy.PeakMemory()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d uploads of %d MiB in %s, peak memory %d MiB", protocol, uploads, size>>20, time.Since(began).Round(time.Millisecond), peak>>20)
		if peak > memoryBudget {
			t.Errorf("%s: peak memory %d MiB", protocol, peak>>20)
		}
	}
}

// upload sends size bytes that only this upload has, half of them with a
// Content-Length and half chunked, and compares what arrived.
func (p *pair) upload(t *testing.T, name string, size int64, seed int) error {
	sum := sha256.New()
	body := io.TeeReader(io.LimitReader(&pattern{at: seed * 7919}, size), sum)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.proxy.URL()+"/v1/files", body)
	if err != nil {
		return err
	}
	if seed%2 == 0 {
		req.ContentLength = size
	}
	req.Header.Set(sim.PlanHeader, sim.Plan{Name: name, Status: 200, Body: "{}"}.Encode())
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if answer, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return fmt.Errorf("status %d %s, %w", res.StatusCode, answer, err)
	}
	rec, err := p.api.Wait(t.Context(), name)
	if err != nil {
		return err
	}
	<-rec.Ended()
	if want := hex.EncodeToString(sum.Sum(nil)); rec.BodyBytes != size || rec.BodySHA256 != want {
		return fmt.Errorf("%d bytes arrived with sum %s, want %d with %s", rec.BodyBytes, rec.BodySHA256, size, want)
	}
	return nil
}

// noise has a prime length, so that it repeats at no multiple of a buffer.
var noise = func() []byte {
	b := make([]byte, 1048573)
	_, _ = rand.Read(b) // never fails
	return b
}()

// A pattern is an endless body that differs from every other upload's and
// from itself at every offset that a buffer could be shifted by.
type pattern struct{ at int }

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, noise[p.at:])
	p.at = (p.at + n) % len(noise)
	return n, nil
}
