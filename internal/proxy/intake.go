package proxy

import (
	"context"
	"io"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
)

const (
	// readAheadLimit is up to which declared length a body is read before
	// anything is sent: the upload then never depends on the client, an early
	// answer cannot cut it, and the request may be repeated. Longer and unknown
	// ones stream through.
	readAheadLimit = 256 << 10
	// catchUpLimit is the same for a request that waited in line, whatever its
	// framing. It is above what a client's kernel sends on after the client has
	// gone, so that its end is seen before anything of it goes upstream.
	catchUpLimit = 8 << 20
	// catchUpTime bounds that: whoever still sends after it has not left.
	catchUpTime = 10 * time.Second
)

// intake is the content of a request: what was read of it and is kept in
// memory, and behind that what the client has still to send.
type intake struct {
	src    edge.Body // nil without content
	length int64     // declared; -1 when unknown
	budget *budget
	live   *Live
	dog    *watchdog
	limits Limits
	// theirs is the client's trailer, ours what goes upstream of it: not what
	// Connection named.
	theirs, ours *headers.Trailer
	named        headers.Names

	// mu guards what the exchange and the engine's goroutine, which reads an
	// upload, both touch.
	mu    sync.Mutex
	pages []page
	kept  int64 // bytes in the pages
	held  int64 // bytes of the budget that they hold
	came  int64 // bytes that were read from the client
	done  error // what ended the client's body; nil before
	// behind is where the end of a body of known length is looked for.
	behind [1]byte
	// reserved says that the pages are the budget's reserve, eager that they are
	// freed as soon as an upload has taken them, spent that the beginning of the
	// body is gone.
	reserved, eager, spent bool
}

func newIntake(h *Handler, r *edge.Request, live *Live, dog *watchdog) *intake {
	named := headers.Named(r.Header)
	return &intake{
		src: r.Body, length: r.ContentLength, budget: h.replay, live: live, dog: dog, limits: h.Limits,
		theirs: r.Trailer, ours: headers.RequestTrailer(r.Trailer, named), named: named,
	}
}

// readShort reads a short body ahead. Who asked for 100 (Continue) wants the
// API's word first.
func (in *intake) readShort(ctx context.Context, fail func(error), expects bool) *ending {
	if in.src == nil || in.length < 0 || in.length > readAheadLimit || expects {
		return nil
	}
	return in.read(ctx, fail, readAheadLimit, in.take)
}

// catchUp reads on for a request that waited in line: on HTTP/1 the end of a
// client that left stands behind its unread body.
func (in *intake) catchUp(ctx context.Context, fail func(error)) *ending {
	if in.src == nil || in.ahead() {
		return nil
	}
	until := time.Now().Add(catchUpTime)
	return in.read(ctx, fail, catchUpLimit, func(ctx context.Context, n int64) (bool, error) {
		if time.Now().After(until) {
			return false, nil
		}
		if ok, _ := in.take(ctx, n); ok {
			return true, nil
		}
		return in.reserve(ctx, until)
	})
}

// take gets memory from the budget.
func (in *intake) take(_ context.Context, n int64) (bool, error) {
	if !in.reserved && in.budget.take(n) {
		in.held += n
		return true, nil
	}
	return in.reserved, nil
}

// reserve gets it from the budget's reserve.
func (in *intake) reserve(ctx context.Context, until time.Time) (bool, error) {
	var err error
	in.live.elsewhere(func() { err = in.budget.hold(ctx, time.Until(until)) })
	in.reserved = err == nil
	in.eager = in.reserved
	return in.reserved, err
}

// read reads ahead until the end of the body, until most of it is kept, or until
// there is no more memory. It returns nil unless the exchange has to end; fail
// ends it when the client stands still.
func (in *intake) read(ctx context.Context, fail func(error), most int64, memory func(context.Context, int64) (bool, error)) *ending {
	in.live.enter(InUpload)
	if !in.hasCome() {
		in.dog.watch(in.limits.IdleTimeout, func() { fail(clientStalled) })
		defer in.dog.stop()
		defer context.AfterFunc(ctx, func() { _ = in.src.Close() })()
	}
	for in.done == nil && (in.kept < most || in.kept == in.length) {
		room, err := in.room(ctx, memory)
		if err != nil {
			return because(fromBody(err))
		}
		if room == nil {
			return nil
		}
		var n int
		in.live.elsewhere(func() { n, err = in.pull(room) })
		if in.kept < in.length || in.length < 0 {
			last := &in.pages[len(in.pages)-1]
			*last = (*last)[:len(*last)+n]
			in.kept += int64(n)
		}
		if err == nil {
			continue
		}
		if in.done = err; err == io.EOF {
			return nil
		}
		if why, ok := ended(ctx); ok {
			return because(why)
		}
		return because(fromBody(err))
	}
	return nil
}

// hasCome reports that nothing is to be waited for: most requests arrive in one
// piece.
func (in *intake) hasCome() bool {
	src, knows := in.src.(interface{ Whole() bool })
	return knows && src.Whole()
}

// room is where the next bytes go; nil when there is no memory. Behind a body
// of known length there is only its end to be seen.
func (in *intake) room(ctx context.Context, memory func(context.Context, int64) (bool, error)) ([]byte, error) {
	if in.kept == in.length {
		return in.behind[:], nil
	}
	n := len(in.pages)
	if n == 0 || len(in.pages[n-1]) == cap(in.pages[n-1]) {
		if ok, err := memory(ctx, pageSize(n)); !ok || err != nil {
			return nil, err
		}
		in.pages = append(in.pages, newPage(n))
		n++
	}
	last := in.pages[n-1]
	return last[len(last):cap(last)], nil
}

// pull reads from the client. At the end it fills the trailer in.
func (in *intake) pull(p []byte) (int, error) {
	n, err := in.src.Read(p)
	in.dog.touch()
	in.live.requestBytes.Add(int64(n))
	if in.came += int64(n); in.came > in.limits.MaxBodyBytes {
		return 0, tooLarge
	}
	if err == io.EOF {
		if in.ours != nil {
			in.ours.Fields = headers.RequestTrailer(in.theirs, in.named).Fields
		}
	}
	return n, err
}

// ahead reports whether all of the body is in memory.
func (in *intake) ahead() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.src == nil || in.done == io.EOF && !in.spent
}

// repeatable reports whether the body can still be sent from its beginning.
func (in *intake) repeatable() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.spent
}

// close gives the memory back. Nothing can be sent after it.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.free()
}

// free gives the memory back. The caller holds mu.
func (in *intake) free() {
	in.spent = true
	for n, p := range in.pages {
		freePage(n, p)
	}
	in.pages = nil
	in.budget.give(in.held)
	in.held = 0
	if in.reserved {
		in.reserved = false
		in.budget.release()
	}
}
