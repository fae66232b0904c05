package main

import (
	"fmt"
	"time"
)

// settle is how long what the openings left undone may take to get done: an idle
// connection lies down by itself.
const settle = 2 * time.Second

// measureFresh takes the figures that need a process with no past: memory that
// earlier work left behind would hide what streams and connections need.
func (b *bench) measureFresh(p peer, up *upstream) error {
	for _, measure := range []func(*running, *upstream) error{b.measureWaiting, b.measureIdle} {
		r, err := b.launch(p, up)
		if err != nil {
			return err
		}
		err = measure(r, up)
		r.stop()
		if err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	return nil
}

// measureWaiting adds how much a proxy grew per waiting stream, at every count
// of streams, and what is asked of it at some of those counts.
func (b *bench) measureWaiting(r *running, up *upstream) error {
	rest, err := readUsage(r.pid)
	if err != nil {
		return err
	}
	b.results.add(memoryBase, up.protocol, r.peer, float64(rest.rss)/(1<<20))
	base, err := warm(r)
	if err != nil {
		return err
	}
	var streams []*client
	defer func() { closeAll(streams) }()
	for _, n := range b.scale.waiting {
		more, err := openStreams(r.addr, "&mode=wait", n-len(streams))
		if err != nil {
			return err
		}
		streams = append(streams, more...)
		grown, err := growth(r, base, n)
		if err != nil {
			return err
		}
		b.results.add(memoryOf(n), up.protocol, r.peer, grown)
		if err := b.measureAmong(n, r, up); err != nil {
			return err
		}
	}
	return nil
}

// measureAmong takes what is measured while n streams wait.
func (b *bench) measureAmong(n int, r *running, up *upstream) error {
	if n == b.scale.crowd {
		took, err := measureCancel(b.scale, r, up)
		if err != nil {
			return err
		}
		b.results.add(cancelCrowd, up.protocol, r.peer, took)
	}
	if n == b.scale.scraped && r.admin != "" {
		delay, err := measureScrape(r)
		if err != nil {
			return err
		}
		b.results.add(scrapeDelay, up.protocol, r.peer, delay)
	}
	return nil
}

// measureIdle adds how much a proxy grew per connection that is kept open after
// one request.
func (b *bench) measureIdle(r *running, up *upstream) error {
	base, err := warm(r)
	if err != nil {
		return err
	}
	req := request("")
	idle, err := openMany(r.addr, b.scale.idle, func(c *client) error { return c.exchange(req) })
	if err != nil {
		return err
	}
	defer closeAll(idle)
	grown, err := growth(r, base, len(idle))
	b.results.add(memoryIdle, up.protocol, r.peer, grown)
	return err
}

// warm has a proxy do a little of everything once and returns its usage then.
func warm(r *running) (usage, error) {
	if err := load(r.addr, 4*connections, request("")); err != nil {
		return usage{}, err
	}
	return readUsage(r.pid)
}

// growth is by how much a proxy has grown since base for each of n, in KiB.
func growth(r *running, base usage, n int) (float64, error) {
	time.Sleep(settle)
	now, err := readUsage(r.pid)
	return float64(now.rss-base.rss) / 1024 / float64(n), err
}
