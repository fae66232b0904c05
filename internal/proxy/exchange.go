package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// exchange is one proxied request from its head to its record. It belongs to
// the goroutine that serves it; what others touch is atomic or says so.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	target string
	ticket *admission.Ticket
	body   requestBody
	dog    *watchdog
	writes writeClock
	whole  bool // the client has been sent all of its answer
	rec    record
	sent   atomic.Int64 // bytes of the request body read from the client
	// trailer goes upstream behind a streaming body; whoever reads the body to
	// its end fills it.
	trailer http.Header
	// client ends when the client leaves; unwatch frees what it holds.
	client  context.Context
	unwatch func()

	// mu guards what the end of an upload, seen by the engine's goroutine, and
	// the beginning of the answer decide together.
	mu        sync.Mutex
	cancel    context.CancelCauseFunc // ends the attempt, and the stream that came of it
	answering bool
}

func newExchange(h *Handler, w http.ResponseWriter, r *http.Request, target string) *exchange {
	x := &exchange{
		h: h, w: w, rc: http.NewResponseController(w), r: r, target: target, dog: newWatchdog(),
		client: r.Context(), unwatch: func() {},
	}
	x.rec = newRecord(r, target)
	x.writes = writeClock{rc: x.rc, limit: h.Limits.IdleTimeout, perStream: r.ProtoMajor == 2}
	return x
}

// close ends what the exchange holds and writes its record, whatever became of
// it: a panic on its way through is counted too.
func (x *exchange) close() {
	bug := recover()
	abort := bug == http.ErrAbortHandler
	if bug != nil && !abort {
		abort = x.failInternally(bug)
	}
	x.stopClocks()
	x.end(context.Canceled)
	x.unwatch()
	x.body.release()
	x.settle()
	x.leaveUpload(abort)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// settle writes the record and frees the place.
func (x *exchange) settle() {
	if x.ticket != nil {
		defer x.ticket.Leave()
	}
	x.rec.requestBytes = x.sent.Load()
	x.h.record(&x.rec)
}

func (x *exchange) serve() {
	// Whatever becomes of it: that it came is evidence that peers reach us.
	x.h.Metrics.lastRequest.SetToCurrentTime()
	if x.h.Gate.Closed() {
		x.fail(admission.ErrDraining)
		return
	}
	if x.r.ContentLength > x.h.Limits.MaxBodyBytes {
		x.fail(errTooLarge)
		return
	}
	if err := x.prepareBody(); err != nil {
		x.fail(err)
		return
	}
	if err := x.enter(); err != nil {
		x.fail(err)
		return
	}
	x.identify()
	ctx, res, err := x.send()
	if err != nil {
		x.fail(err)
		return
	}
	x.relay(ctx, res)
}

// enter waits for a place. Who left in the meantime is forgotten, and nothing
// of the request goes upstream.
func (x *exchange) enter() error {
	m := x.h.Metrics
	m.queued.Inc()
	ticket, err := x.h.Gate.Enter(x.client)
	m.queued.Dec()
	x.rec.queued = ticket.Waited()
	if err != nil {
		return err
	}
	x.ticket = ticket
	const surelyWaited = time.Millisecond
	if x.rec.queued <= surelyWaited {
		return nil
	}
	if err := x.catchUp(); err != nil {
		return err
	}
	if edge.HungUp(x.r.Context()) {
		return errClientGone
	}
	return nil
}

func (x *exchange) identify() {
	if x.h.Identify == nil {
		return
	}
	if caller, ok := x.h.Identify(x.r.Context(), x.r.RemoteAddr); ok {
		x.rec.caller = caller
	}
}

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

// send asks the API, again where that is safe. The context that it returns
// ends with the answer's stream.
func (x *exchange) send() (context.Context, *upstream.Response, error) {
	header := headers.Request(x.r.Header, x.h.Rules)
	begun, wait := time.Now(), retryPause
	for {
		x.rec.attempts++
		ctx, cancel := context.WithCancelCause(x.client)
		x.setCancel(cancel)
		res, err := x.attempt(ctx, header)
		if err == nil {
			return ctx, res, nil
		}
		reason := retryReason(x.r.Method, err, x.body.repeatable())
		cancel(err)
		unprocessed := reason == retryDead || reason == retryRefused
		switch {
		case reason == "", x.client.Err() != nil:
			return nil, nil, err
		case unprocessed && time.Since(begun)+wait > insistence:
			return nil, nil, err
		case !unprocessed && x.rec.attempts >= maxAttempts:
			return nil, nil, err
		}
		x.h.Metrics.retries[reason].Inc()
		x.h.Log.Warn().Str("event", "retry").Str("request_id", x.rec.id).Str("reason", string(reason)).
			Int("attempt", x.rec.attempts).Str("error", describe(err)).Msg("upstream attempt failed; trying again")
		if err := pause(x.client, wait); err != nil {
			return nil, nil, err
		}
		if unprocessed {
			wait = min(2*wait, longestPause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (x *exchange) setCancel(cancel context.CancelCauseFunc) {
	x.mu.Lock()
	x.cancel = cancel
	x.mu.Unlock()
	x.ticket.OnEnd(cancel)
}

// end ends the attempt or the stream with a cause.
func (x *exchange) end(cause error) {
	x.mu.Lock()
	cancel := x.cancel
	x.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// attempt sends the request once and waits for the head of the answer.
func (x *exchange) attempt(ctx context.Context, header http.Header) (*upstream.Response, error) {
	req := &upstream.Request{
		Method: x.r.Method, Target: x.target, Header: header,
		ContentLength: x.r.ContentLength, Trailer: x.trailer, Interim: x.passInterim,
	}
	if x.body.streams() {
		x.dog.watch(x.h.Limits.IdleTimeout, func() { x.end(x.body.stream.stalled()) })
	} else {
		x.awaitHead()
	}
	req.Body, req.Whole = x.body.reader()
	res, err := x.h.Upstream.RoundTrip(ctx, req)
	if err != nil {
		return nil, err
	}
	if res.Status < 200 || res.Status > 999 {
		_ = res.Body.Close()
		return nil, &upstream.Error{Stage: upstream.Sent, Err: errBadStatus}
	}
	return res, nil
}

func (x *exchange) awaitHead() {
	x.dog.watch(x.headerTimeout(), func() { x.end(errHeaderTimeout) })
}

// uploadEnded is told by the goroutine that reads a streaming body.
func (x *exchange) uploadEnded(err error) {
	if err != nil {
		x.end(err)
		return
	}
	for name := range x.trailer {
		x.trailer[name] = x.r.Trailer[name]
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.answering {
		x.awaitHead()
	}
}

// stopClocks is for the end of the exchange: an upload that ends only now sets
// no clock any more.
func (x *exchange) stopClocks() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answering = true
	x.dog.stop()
}

// beginAnswer puts the answer's own clock in place of the attempt's. While the
// upload goes on beside it, either direction keeps it alive.
func (x *exchange) beginAnswer() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answering = true
	x.dog.watch(x.h.Limits.IdleTimeout, func() { x.end(errIdle) })
}

// longestHeaderTimeout bounds what a client may ask for.
const longestHeaderTimeout = time.Hour

// headerTimeout is ours, or the client's own when that is longer: the SDKs
// name theirs in whole seconds.
func (x *exchange) headerTimeout() time.Duration {
	limit := x.h.Limits.HeaderTimeout
	named, err := strconv.ParseFloat(x.r.Header.Get("X-Stainless-Timeout"), 64)
	if err != nil || !(named > limit.Seconds()) {
		return limit
	}
	if named > longestHeaderTimeout.Seconds() {
		return max(limit, longestHeaderTimeout)
	}
	return time.Duration(named * float64(time.Second))
}

// retryReason names why a failed attempt may be repeated; it is empty when it
// may not. A request that can have reached the API is repeated only when its
// method promises that this changes nothing (RFC 9110 9.2.2), and a POST never:
// it would be billed twice.
func retryReason(method string, err error, repeatable bool) repeat {
	var ue *upstream.Error
	if !errors.As(err, &ue) || !repeatable || endedByUs(err) {
		return ""
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return "" // it will not change
	case ue.Dial:
		return retryConnect
	case ue.Stage == upstream.Unsent:
		return retryDead
	case ue.Stage == upstream.Refused:
		return retryRefused
	case method != http.MethodGet && method != http.MethodHead:
		return ""
	case errors.Is(err, errHeaderTimeout):
		return retryTimeout
	}
	return retryReset
}
