package proxy

import (
	"context"
	"strconv"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

const (
	// maxAttempts and retryPause are for a request that finds no connection, or
	// that may be processed twice without harm.
	maxAttempts = 3
	retryPause  = 100 * time.Millisecond
	// insistence bounds how long a request that the API provably did not process
	// is offered again, after pauses that double up to longestPause.
	insistence   = 10 * time.Second
	longestPause = time.Second
)

// attempts ask the API, again where that is safe.
type attempts struct {
	api    Upstream
	limits Limits
	live   *Live
	dog    *watchdog
	// fail ends the exchange: the client's part of an upload broke.
	fail func(cause error)
	// interim passes a 1xx answer on.
	interim func(status int, h headers.Fields)
	// repeated is told of each failure behind which another attempt comes.
	repeated func(ending, repeat)
}

// asked is an answer's head with what stands behind it; the zero asked is none.
type asked struct {
	*upstream.Response
	upload *upload // may still go on; nil without content
}

// close ends what is left of it.
func (a asked) close() {
	_ = a.Body.Close()
	_ = a.upload.Close()
}

// ask sends the request until it is answered or must not be sent again.
func (a *attempts) ask(ctx context.Context, target string, r *edge.Request, in *intake) (asked, *ending) {
	begin, wait := time.Now(), retryPause
	for n := 1; ; n++ {
		a.live.attempts.Store(int32(n))
		var res asked
		var end *ending
		a.live.elsewhere(func() { res, end = a.once(ctx, target, r, in) })
		if end == nil {
			return res, nil
		}
		again := end.row().repeated
		switch {
		case !end.mayRepeat(r.Method), !in.repeatable():
			return asked{}, end
		case again.patient && time.Since(begin)+wait > insistence:
			return asked{}, end
		case !again.patient && n >= maxAttempts:
			return asked{}, end
		}
		a.repeated(*end, again.reason)
		if why, over := a.pause(ctx, wait); over {
			end = because(why)
			if !again.safe { // it was not processed
				end = end.unsent()
			}
			return asked{}, end
		}
		if again.patient {
			wait = min(2*wait, longestPause)
		}
	}
}

func (a *attempts) pause(ctx context.Context, d time.Duration) (why cause, over bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	a.live.elsewhere(func() {
		select {
		case <-t.C:
		case <-ctx.Done():
			why, over = ended(ctx)
		}
	})
	return why, over
}

// once sends the request once and waits for the head of the answer.
func (a *attempts) once(whole context.Context, target string, r *edge.Request, in *intake) (asked, *ending) {
	ctx, giveUp := whole, a.fail
	if because(headTimeout).mayRepeat(r.Method) { // only the attempt ends then
		attempt, cancel := context.WithCancelCause(whole)
		ctx, giveUp = attempt, cancel
	}
	clock := headClock{live: a.live, dog: a.dog, limit: a.headTimeout(r.Header), giveUp: giveUp}
	defer clock.stop()
	given := func(err error) {
		if err != nil {
			a.fail(fromBody(err))
			return
		}
		clock.start()
	}
	up, ahead := newUpload(in, given), in.ahead()
	req := &upstream.Request{
		Method: r.Method, Target: target, Header: r.Header, ContentLength: r.ContentLength, Trailer: in.ours, Interim: a.interim,
	}
	if up != nil {
		req.Body, req.Whole = up, ahead && r.ContentLength >= 0
	}
	if ahead {
		given(nil)
	} else {
		a.live.enter(InUpload)
		a.dog.watch(a.limits.IdleTimeout, func() { a.fail(up.stalled()) })
	}
	res, err := a.api.RoundTrip(ctx, req)
	if err == nil && (res.Status < 200 || res.Status > 999) {
		_ = res.Body.Close()
		err = badAnswer
	}
	if err != nil {
		end := fromUpstream(err)
		if why, over := ended(whole); over {
			end = because(why)
		}
		if !mayHaveReached(err) {
			end = end.unsent()
		}
		return asked{}, end
	}
	up.answered()
	return asked{res, up}, nil
}

// headClock begins when the API has been given the whole request, which the
// engine's goroutine sees, and ends with the attempt: an answer may come before.
type headClock struct {
	live   *Live
	dog    *watchdog
	limit  time.Duration
	giveUp func(cause error)

	mu   sync.Mutex
	over bool
}

func (c *headClock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.live.sent()
		c.dog.watch(c.limit, c.expire)
	}
}

// expire gives up, unless the answer has come in this moment.
func (c *headClock) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.giveUp(headTimeout)
	}
}

func (c *headClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.dog.stop()
}

// longestHeadTimeout bounds what a client may ask for.
const longestHeadTimeout = time.Hour

// headTimeout is ours, or the client's own when that is longer: the SDKs name
// theirs in whole seconds.
func (a *attempts) headTimeout(h headers.Fields) time.Duration {
	limit := a.limits.HeaderTimeout
	named, err := strconv.ParseFloat(h.Get("X-Stainless-Timeout"), 64)
	if err != nil || !(named > limit.Seconds()) {
		return limit
	}
	if named > longestHeadTimeout.Seconds() {
		return max(limit, longestHeadTimeout)
	}
	return time.Duration(named * float64(time.Second))
}
