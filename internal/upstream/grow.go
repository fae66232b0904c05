package upstream

import (
	"context"
	"math/rand/v2"
	"time"
)

// How connections multiply. Those who wait share a dial as long as the API
// speaks HTTP/2; over HTTP/1.1 each has its own.
const (
	mostDials1 = 256 // at once, over HTTP/1.1
	mostDials2 = 8   // over HTTP/2
	mostShared = 256 // HTTP/2 connections in all

	// After a dial that brought nothing the next one waits, twice as long each
	// time. Whoever waits meanwhile hears of the next failure with all others.
	dialPause     = 50 * time.Millisecond
	mostDialPause = 2 * time.Second
	// A connection that allows no stream at all is no failure, and another one
	// is unlikely to be better.
	barrenPause = 5 * time.Second

	// A connection serves for maxAge, give or take a tenth, so that a changed
	// address or a rebalanced API is noticed and not by all at once. Its
	// successor is opened before it goes.
	maxAge = 30 * time.Minute
)

// dialPlan is what the pool knows of making connections. It is guarded by the
// pool's mutex.
type dialPlan struct {
	running int       // dials in progress
	places  int       // what a new connection is expected to bring
	failed  int       // dials in a row that brought nothing
	next    time.Time // no dial before it
	renew   bool      // all that is left has aged: a successor is wanted
}

// pause puts the next dial off.
func (d *dialPlan) pause(least time.Duration) {
	d.failed++
	wait := max(least, min(dialPause<<min(d.failed-1, 10), mostDialPause))
	if at := time.Now().Add(wait); at.After(d.next) {
		d.next = at
	}
}

// grow dials as many connections as those in line will need. The caller holds
// mu.
func (p *Pool) grow() {
	g := &p.growth
	p.learn()
	missing := len(p.line)
	if missing == 0 && !g.renew {
		return
	}
	now := time.Now()
	var again time.Time
	for _, c := range p.shared {
		promised, until := c.promises(g.places)
		missing -= promised
		if !until.IsZero() && (again.IsZero() || until.Before(again)) {
			again = until
		}
	}
	most, each := mostDials2, max(g.places, 1)
	if p.http1 {
		most, each = mostDials1, 1
	}
	missing -= g.running * each
	if g.renew && g.running == 0 {
		missing = max(missing, 1)
	}
	for missing > 0 && g.running < most && len(p.shared)+g.running < mostShared {
		if now.Before(g.next) {
			again = g.next
			break
		}
		p.begin()
		missing -= each
	}
	if !again.IsZero() {
		p.alarm.Reset(max(again.Sub(now), time.Millisecond))
	}
}

// learn takes notice of what the connections have been told. The caller holds
// mu.
func (p *Pool) learn() {
	g, fresh := &p.growth, false
	for _, c := range p.shared {
		switch limit, aged, news := c.terms(); {
		case !news && limit > 0 && !aged:
			fresh = true
		case news && limit == 0:
			g.pause(barrenPause)
		case news:
			g.places, g.failed = limit, 0
			fresh = fresh || !aged
		}
	}
	if !fresh {
		return
	}
	g.renew = false
	for _, c := range p.shared {
		c.retireAged()
	}
}

// begin dials. The caller holds mu.
func (p *Pool) begin() {
	p.growth.running++
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		p.dial()
	}()
}

// dial makes one connection. It is nobody's in particular: a request that
// leaves the line leaves it to the next one.
func (p *Pool) dial() {
	ctx, cancel := context.WithTimeout(p.ctx, ConnectTimeout)
	defer cancel()
	start := time.Now()
	l, err := p.connect.connect(ctx)
	var h2 *h2Conn
	if err == nil && l.speaksHTTP2() {
		h2 = newH2Conn(p, l)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.growth.running--
	switch {
	case p.closed:
		switch {
		case h2 != nil:
			h2.close()
		case err == nil:
			l.close()
		}
		return
	case err != nil:
		p.dialFailed(err)
		return
	}
	p.metrics.dials.Observe(time.Since(start).Seconds())
	if !l.expires.IsZero() {
		p.metrics.expiry.Set(float64(l.expires.Unix()))
	}
	if h2 != nil {
		p.http1 = false
		for _, c := range p.shared {
			c.retireBarren()
		}
		p.shared = append(p.shared, h2)
	} else {
		p.http1, p.growth.failed = true, 0
		c := newH1Conn(p, l)
		p.open[c] = struct{}{}
		p.keep(c)
	}
	p.serve()
}

// dialFailed tells those who have nothing else to hope for. Where connections
// stand that give places, they wait for these. The caller holds mu.
func (p *Pool) dialFailed(err error) {
	e := asError(err)
	p.metrics.errors[e.Cause].Inc()
	p.quiet.dialFailed(e)
	p.growth.pause(0)
	p.growth.renew = false
	p.prune()
	hope := p.growth.running > 0
	for _, c := range p.shared {
		hope = hope || c.hopeful()
	}
	switch {
	case p.http1:
		p.failLine(1, e)
	case !hope:
		p.failLine(len(p.line), e)
	}
	p.serve()
}

// lifetime is how long a connection serves.
func lifetime() time.Duration {
	return maxAge - maxAge/10 + rand.N(maxAge/5)
}
