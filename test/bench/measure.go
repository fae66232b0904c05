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

// A metric is a row of the table.
type metric string

// The metrics, in the order in which they are printed.
const (
	cpuPerRequest metric = "CPU per request, 32 at once, us"
	addedLatency  metric = "added latency, one at a time, median us"
	cpuPerChunk   metric = "CPU per SSE chunk, 400 streams, us"
	cpuPerMiB     metric = "CPU per MiB uploaded, us"
	cancelTime    metric = "client leaves -> upstream cancelled, ms"
	memory1000    metric = "memory per waiting stream, 1,000 of them, KiB"
	memory5000    metric = "memory per waiting stream, 5,000 of them, KiB"
)

var metrics = append([]metric{cpuPerRequest, addedLatency, cpuPerChunk, cpuPerMiB, cancelTime, memory1000, memory5000}, farMetrics()...)

// A scale says how much work one measurement does.
type scale struct {
	rounds    int
	requests  int // in a CPU measurement; a multiple of connections
	single    int // in a latency measurement
	streams   int
	window    time.Duration // of the streaming measurement
	cancels   int
	uploads   int // of 10 MiB
	waitFirst int
	waitAll   int // 0 leaves it out
}

var (
	normal = scale{rounds: 3, requests: 6400, single: 500, streams: 400, window: 2 * time.Second, cancels: 20, uploads: 6, waitFirst: 1000, waitAll: 5000}
	quick  = scale{rounds: 2, requests: 1920, single: 200, streams: 400, window: time.Second, cancels: 5, uploads: 2, waitFirst: 1000}
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

// cancelLimit is how long a cancel may take before it counts as this long.
const cancelLimit = 8 * time.Second

// measureCancel returns the median time from a client's leaving to its being
// seen by the upstream, in ms.
func measureCancel(s scale, r *running, up *upstream, round int) (float64, error) {
	times := make([]float64, s.cancels)
	for i := range times {
		id := fmt.Sprintf("%s-%d-%d", r.peer, round, i)
		left := up.left(id)
		c, err := openStream(r.addr, "&mode=wait&id="+id)
		if err != nil {
			return 0, err
		}
		start := time.Now()
		c.close()
		select {
		case at := <-left:
			times[i] = microseconds(at.Sub(start)) / 1000
		case <-time.After(cancelLimit):
			return microseconds(cancelLimit) / 1000, nil
		}
	}
	return median(times), nil
}

// measureMemory returns how much a fresh proxy grew per waiting stream, in
// KiB, at two counts of streams.
func measureMemory(s scale, r *running) (first, all float64, err error) {
	if err := load(r.addr, 4*connections, request("")); err != nil {
		return 0, 0, err
	}
	base, err := readUsage(r.pid)
	if err != nil {
		return 0, 0, err
	}
	var streams []*client
	defer func() { closeAll(streams) }()
	grow := func(to int) (float64, error) {
		more, err := openStreams(r.addr, "&mode=wait", to-len(streams))
		if err != nil {
			return 0, err
		}
		streams = append(streams, more...)
		time.Sleep(500 * time.Millisecond) // what the openings left undone gets done
		now, err := readUsage(r.pid)
		return float64(now.rss-base.rss) / 1024 / float64(to), err
	}
	if first, err = grow(s.waitFirst); err != nil || s.waitAll == 0 {
		return first, 0, err
	}
	all, err = grow(s.waitAll)
	return first, all, err
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
