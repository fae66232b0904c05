package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	scrapes      = 5
	pacedStreams = 50
	pace         = time.Second / chunksPerSecond
)

// measureScrape returns by how much the longest gap between two chunks of any
// stream was longer while /metrics was read than just before, in ms.
func measureScrape(r *running) (float64, error) {
	streams, err := openStreams(r.addr, "&mode=stream", pacedStreams)
	if err != nil {
		return 0, err
	}
	var (
		gap     gaps
		readers sync.WaitGroup
	)
	for _, c := range streams {
		readers.Go(func() { gap.read(c) }) // ends when the client closes it
	}
	defer readers.Wait()
	defer closeAll(streams)
	time.Sleep(settle)
	var quiet, scraped time.Duration
	for range scrapes {
		began := time.Now()
		var failed error
		scraped = max(scraped, gap.longest(func() { failed = scrape(r.admin) }))
		if failed != nil {
			return 0, failed
		}
		took := time.Since(began)
		quiet = max(quiet, gap.longest(func() { time.Sleep(took) }))
	}
	return milliseconds(max(scraped-quiet, 0)), nil
}

func scrape(admin string) error {
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("read metrics: status %d", answer.StatusCode)
	}
	return nil
}

// gaps keep the longest pause between two chunks of a stream.
type gaps struct{ worst atomic.Int64 }

// longest is the longest pause of all streams while do runs and until each has
// had its next chunk.
func (g *gaps) longest(do func()) time.Duration {
	g.worst.Store(0)
	do()
	time.Sleep(2 * pace)
	return time.Duration(g.worst.Load())
}

// read notes the pauses of one stream until it ends.
func (g *gaps) read(c *client) {
	last := time.Now()
	for {
		if _, err := c.r.Peek(1); err != nil {
			return
		}
		now := time.Now()
		_, _ = c.r.Discard(c.r.Buffered())
		for took := int64(now.Sub(last)); ; {
			if worst := g.worst.Load(); took <= worst || g.worst.CompareAndSwap(worst, took) {
				break
			}
		}
		last = now
	}
}
