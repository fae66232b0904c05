package main

import (
	"fmt"
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
	burstTime     metric = "first byte of a burst of 400 streams, median ms"
	cancelTime    metric = "client leaves -> upstream cancelled, ms"
	cancelCrowd   metric = "the same, 5,000 other streams waiting, ms"
	memoryIdle    metric = "memory per idle connection, each used once, KiB"
	memoryBase    metric = "memory at rest, before the first request, MiB"
	scrapeDelay   metric = "a scrape of /metrics, 9,500 streams waiting: longest extra delay of a chunk, ms"
)

// memoryOf is the metric of that many waiting streams.
func memoryOf(streams int) metric {
	return metric(fmt.Sprintf("memory per waiting stream, %d,%03d of them, KiB", streams/1000, streams%1000))
}

// rows lists all metrics.
func rows() []metric {
	all := []metric{cpuPerRequest, addedLatency, cpuPerChunk, cpuPerMiB, burstTime, cancelTime, cancelCrowd}
	for _, n := range normal.waiting {
		all = append(all, memoryOf(n))
	}
	return append(append(all, memoryIdle, memoryBase, scrapeDelay), farMetrics()...)
}

// A scale says how much work one measurement does.
type scale struct {
	rounds   int
	requests int // in a CPU measurement; a multiple of connections
	single   int // in a latency measurement
	streams  int
	window   time.Duration // of the streaming measurement
	cancels  int
	uploads  int   // of 10 MiB
	waiting  []int // streams, in a memory measurement
	crowd    int   // how many of them wait when a cancel is measured again
	scraped  int   // and how many when /metrics is read
	idle     int   // connections
}

var (
	normal = scale{rounds: 3, requests: 6400, single: 500, streams: 400, window: 2 * time.Second, cancels: 20, uploads: 6,
		waiting: []int{1000, 5000, 9500}, crowd: 5000, scraped: 9500, idle: 10000}
	quick = scale{rounds: 2, requests: 1920, single: 200, streams: 400, window: time.Second, cancels: 5, uploads: 2,
		waiting: []int{1000}, idle: 1000}
)
