package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const connections = 32

// measureRequests returns the CPU time of the proxy per request, in us.
func measureRequests(s scale, r *running) (float64, error) {
	before, err := readUsage(r.pid)
	if err != nil {
		return 0, err
	}
	if err := load(r.addr, s.requests, request("")); err != nil {
		return 0, err
	}
	after, err := readUsage(r.pid)
	return microseconds(after.cpu-before.cpu) / float64(s.requests), err
}

// load sends n requests over 32 connections, each as fast as it is answered.
func load(addr string, n int, req []byte) error {
	var workers sync.WaitGroup
	errs := make([]error, connections)
	for i := range errs {
		workers.Go(func() {
			c, err := dial(addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.close()
			for range n / connections {
				if errs[i] = c.exchange(req); errs[i] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// measureLatency returns the median time of one request at a time, in us.
func measureLatency(s scale, addr string) (float64, error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	req := request("")
	times := make([]float64, s.single)
	for i := range times {
		start := time.Now()
		if err := c.exchange(req); err != nil {
			return 0, err
		}
		times[i] = microseconds(time.Since(start))
	}
	return median(times), nil
}

// measureChunks returns the CPU time of the proxy per SSE chunk, in us, while
// streams run at their pace. It fails when the proxy holds chunks back.
func measureChunks(s scale, r *running, up *upstream) (float64, error) {
	streams, err := openStreams(r.addr, "&mode=stream", s.streams)
	if err != nil {
		return 0, err
	}
	var readers sync.WaitGroup
	received := make([]int64, len(streams))
	for i, c := range streams {
		readers.Go(func() { received[i], _ = c.drain() }) // ends when the client closes it
	}
	time.Sleep(200 * time.Millisecond) // the burst of openings is over
	before, err := readUsage(r.pid)
	first := up.chunks.Load()
	time.Sleep(s.window)
	after, err2 := readUsage(r.pid)
	chunks := up.chunks.Load() - first
	closeAll(streams)
	readers.Wait()
	if err := errors.Join(err, err2); err != nil {
		return 0, err
	}
	var bytes int64
	for _, n := range received {
		bytes += n
	}
	if want := chunks * int64(len(sseDelta)); bytes < want*95/100 {
		return 0, fmt.Errorf("measure streams: %d of at least %d bytes arrived", bytes, want)
	}
	return microseconds(after.cpu-before.cpu) / float64(chunks), nil
}

// measureUploads returns the CPU time of the proxy per MiB uploaded, in us.
func measureUploads(s scale, r *running) (float64, error) {
	const mib = 10
	c, err := dial(r.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	head := strings.SplitAfter(string(request("")), "\r\n\r\n")[0]
	head = strings.Replace(head, "Content-Length: "+strconv.Itoa(len(requestBody)), "Content-Length: "+strconv.Itoa(mib<<20), 1)
	upload := append([]byte(head), make([]byte, mib<<20)...)
	before, err := readUsage(r.pid)
	if err != nil {
		return 0, err
	}
	for range s.uploads {
		if err := c.exchange(upload); err != nil {
			return 0, err
		}
	}
	after, err := readUsage(r.pid)
	return microseconds(after.cpu-before.cpu) / float64(mib*s.uploads), err
}

// bursts is how many a measurement takes; each has a pause after it, in which
// the streams of the last one end.
const (
	bursts     = 3
	burstPause = 200 * time.Millisecond
)

// measureBurst returns the median time from a request to the first byte of its
// answer's content when many are sent at once on open connections, in ms.
func measureBurst(s scale, r *running) (float64, error) {
	var all []float64
	for range bursts {
		times, err := burst(r.addr, s.streams)
		if err != nil {
			return 0, err
		}
		all = append(all, times...)
		time.Sleep(burstPause)
	}
	return median(all), nil
}

func burst(addr string, n int) ([]float64, error) {
	clients, err := openMany(addr, n, func(*client) error { return nil })
	if err != nil {
		return nil, err
	}
	defer closeAll(clients)
	var (
		req     = request("&mode=wait")
		times   = make([]float64, n)
		errs    = make([]error, n)
		workers sync.WaitGroup
		start   = make(chan struct{})
	)
	for i, c := range clients {
		workers.Go(func() {
			<-start
			began := time.Now()
			errs[i] = c.stream(req)
			times[i] = milliseconds(time.Since(began))
		})
	}
	close(start)
	workers.Wait()
	return times, errors.Join(errs...)
}

// cancelLimit is how long a cancel may take before it counts as this long.
const cancelLimit = 8 * time.Second

// measureCancel returns the median time from a client's leaving to its being
// seen by the upstream, in ms.
func measureCancel(s scale, r *running, up *upstream) (float64, error) {
	times := make([]float64, s.cancels)
	for i := range times {
		id, left := up.left()
		c, err := openStream(r.addr, "&mode=wait&id="+id)
		if err != nil {
			return 0, err
		}
		start := time.Now()
		c.close()
		select {
		case at := <-left:
			times[i] = milliseconds(at.Sub(start))
		case <-time.After(cancelLimit):
			return milliseconds(cancelLimit), nil
		}
	}
	return median(times), nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
