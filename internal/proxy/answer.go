package proxy

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// requestIDHeader is the one thing that is added to an answer.
const requestIDHeader = "X-Proxy-Request-Id"

// A stream that waits holds a small buffer; only one that has more to say
// borrows a large one.
const (
	smallBuffer = 1 << 10
	largeBuffer = 32 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// answer streams the API's answer to the client as it comes. While it waits for
// more it is parked, where both sides can do without a goroutine.
type answer struct {
	client edge.Client // its context is the exchange's, and so is that one's cause
	live   *Live
	taps   taps
	dog    watchdog
	idle   time.Duration
	owner  owner
	res    asked         // nothing before the API has answered
	named  headers.Names // by the answer's Connection
	// renewed is when the client's write deadline was, by the dog's clock; 0 while
	// there is none.
	renewed time.Duration
	// behind is content that was read, and waits to be taken by the client.
	behind int64
	// giving says that it is the client that is waited for.
	giving atomic.Bool
	// begun says that the client has taken the head.
	begun bool
}

// owner is whose answer it is.
type owner interface {
	teller
	// run goes on with the exchange.
	run(part func() *ending) (over bool)
}

// relay passes an answer on to its end. Whatever ends ctx first breaks the
// client's answer at once, also under a write that waits: a clean end of half an
// answer would be a lie, and an error event of ours would be taken for the API's
// word. Clients ask again for a stream that broke.
func (a *answer) relay(closing bool) *ending {
	a.taps.answered(a.res.Status, a.res.Header)
	a.dog.watch(a.idle, func() { a.client.End(a.stands()) })
	a.client.AtEnd(a.breakOff)
	a.client.Respond(a.head(closing))
	a.res.Header = nil // many streams wait for long: nothing of their heads does
	return a.goOn()
}

// goOn moves the answer on: to its end, or until it is parked again.
func (a *answer) goOn() *ending {
	end, parked := a.move()
	if parked {
		return nil
	}
	a.dog.stop()
	a.client.AtEnd(nil)
	if end != nil {
		end = settle(a.client.Context(), end)
		if end.cause == clientLeft && a.taken() {
			return because(completed)
		}
		return end
	}
	a.live.headOut()
	if err := a.client.Finish(headers.AnswerTrailer(a.res.Trailer, a.named).Fields); err != nil && !a.taken() {
		return settle(a.client.Context(), because(fromWrite(err)))
	}
	return because(completed)
}

// taken says that the client has all that its head told it to expect.
func (a *answer) taken() bool { return a.begun && a.live.responseBytes.Load() == a.res.ContentLength }

// stands says whose fault it is that the answer does not move: the write's own
// clock runs out in the same moment.
func (a *answer) stands() cause {
	if a.giving.Load() {
		return clientUnread
	}
	return silent
}

// breakOff follows what ends the exchange from outside.
func (a *answer) breakOff() {
	a.client.Abort()
	if body, stands := a.res.Body.(upstream.Standing); stands {
		body.Wake()
	}
}

// settle says who ended an answer: what ended the exchange comes before what
// followed from it.
func settle(ctx context.Context, end *ending) *ending {
	why, over := ended(ctx)
	if !over || why == clientLeft && end.cause == clientUnread {
		return end
	}
	return because(why)
}

func (a *answer) head(closing bool) edge.Head {
	res := a.res
	a.named = headers.Named(res.Header)
	h := append(headers.Response(res.Header).Without(requestIDHeader), headers.Field{Name: requestIDHeader, Value: a.live.id.String()})
	return edge.Head{
		Status: res.Status, Header: h, ContentLength: res.ContentLength, Trailer: headers.AnswerTrailer(res.Trailer, a.named).Names, Close: closing,
	}
}

// ready is the body of an answer that knows whether a Read would wait.
type ready interface{ Ready() bool }

// move moves the content. The head goes when it comes, in one write with the
// content that came with it, and whatever was read is on its way before the
// next read begins. It returns at the end of the answer, and where it is parked.
func (a *answer) move() (end *ending, parked bool) {
	a.renew(time.Now())
	if body, knows := a.res.Body.(ready); !knows || !body.Ready() || a.behind > 0 {
		a.giving.Store(true)
		err := a.client.Flush()
		a.giving.Store(false)
		if err != nil {
			return because(fromWrite(err)), false
		}
		a.begun = true
		a.live.headOut()
		a.live.responseBytes.Add(a.behind)
		a.behind = 0
	}
	for {
		if a.park() {
			return nil, true
		}
		if over, end := a.pieces(); over {
			return end, false
		}
	}
}

// pieces passes content on, until it is over or there is none for the moment and
// waiting for more needs no goroutine.
func (a *answer) pieces() (over bool, end *ending) {
	buf := smallBuffers.Get().(*[]byte)
	pool := &smallBuffers
	defer func() { pool.Put(buf) }()
	body, stands := a.res.Body.(upstream.Standing)
	for {
		n, rerr := a.res.Body.Read(*buf)
		if n > 0 {
			if err := a.write((*buf)[:n]); err != nil {
				return true, because(fromWrite(err))
			}
		}
		switch {
		case rerr == io.EOF:
			return true, nil
		case rerr != nil:
			return true, &ending{cause: brokeLate, detail: describe(rerr)}
		case stands && !body.Ready():
			return false, nil
		case n == smallBuffer && pool == &smallBuffers:
			pool.Put(buf)
			pool = &largeBuffers
			buf = pool.Get().(*[]byte)
		case n < smallBuffer && pool == &largeBuffers:
			pool.Put(buf)
			pool = &smallBuffers
			buf = pool.Get().(*[]byte)
		}
	}
}

// park leaves the answer to [answer.News]. It is false when there is something
// to do, when one side needs a goroutine to wait, and when waiting is not worth
// it: what has a length, and the first of the content, is close behind the head.
func (a *answer) park() bool {
	if a.res.ContentLength >= 0 || a.live.responseBytes.Load() == 0 {
		return false
	}
	body, stands := a.res.Body.(upstream.Standing)
	client, can := a.client.(edge.Parkable)
	if !stands || !can || body.Ready() || !a.res.upload.complete() || !client.Park() {
		return false
	}
	a.renewed = 0
	return body.Wait(a)
}

// News passes a small piece on as it comes, on the goroutine of the connection to
// the API. Everything else that can happen is a goroutine's: more to say than
// that, a client that is full, the end.
func (a *answer) News() {
	client, body := a.client.(edge.Parkable), a.res.Body.(upstream.Standing)
	defer func() {
		if v := recover(); v != nil {
			a.owner.tellBug(v)
			client.Resume(func() bool { return a.owner.run(func() *ending { return because(bug) }) })
		}
	}()
	buf := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buf)
	for {
		n := body.TryRead(*buf)
		if n == 0 || !a.tryWrite(client, (*buf)[:n]) || n == smallBuffer {
			client.Resume(func() bool { return a.owner.run(a.goOn) })
			return
		}
		if body.Wait(a) {
			return
		}
	}
}

// tryWrite is write for who must not wait.
func (a *answer) tryWrite(client edge.Parkable, p []byte) (all bool) {
	a.comes(p, time.Now())
	n, all := client.TryWrite(p)
	a.live.responseBytes.Add(int64(n))
	a.behind = int64(len(p) - n)
	return all
}

func (a *answer) write(p []byte) error {
	now := time.Now()
	a.comes(p, now)
	a.renew(now)
	a.giving.Store(true)
	n, err := a.client.Write(p)
	a.giving.Store(false)
	a.begun = a.begun || err == nil
	a.live.headOut()
	a.live.responseBytes.Add(int64(n))
	a.dog.touch()
	return err
}

// comes tells all who look on of a piece of content.
func (a *answer) comes(p []byte, now time.Time) {
	a.dog.touchAt(now)
	a.live.piece(now)
	a.taps.chunk(p)
}

// renew sets the rolling write deadline, which cuts a client that stops reading,
// when an eighth of it has passed.
func (a *answer) renew(now time.Time) {
	at := a.dog.clock.at(now)
	if a.renewed != 0 && at-a.renewed < a.idle/8 {
		return
	}
	a.renewed = at
	_ = a.client.SetWriteDeadline(now.Add(a.idle))
}
