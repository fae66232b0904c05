package proxy

import (
	"context"
	"io"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
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

// answer streams the API's answer to the client as it comes.
type answer struct {
	client edge.Client
	live   *Live
	taps   *taps
	dog    *watchdog
	idle   time.Duration
	// fail ends the exchange: the answer stood still.
	fail   context.CancelCauseFunc
	writes writeClock
	named  headers.Names // by the answer's Connection
}

// relay passes an answer on to its end. Whatever ends ctx first breaks the
// client's answer at once, also under a write that waits: a clean end of half an
// answer would be a lie, and an error event of ours would be taken for the API's
// word. Clients ask again for a stream that broke.
func (a *answer) relay(ctx context.Context, res *asked, closing bool) *ending {
	defer res.Body.Close()
	a.taps.answered(res.Status, res.Header)
	a.dog.watch(a.idle, func() { a.fail(silent) })
	defer a.dog.stop()
	stop := context.AfterFunc(ctx, a.client.Abort)
	defer stop()
	a.client.Respond(a.head(res, closing))
	if end := a.move(res); end != nil {
		end = settle(ctx, end)
		if end.cause == clientLeft && a.live.responseBytes.Load() == res.ContentLength {
			return because(completed) // it has all that it was told to expect
		}
		return end
	}
	stop()
	a.live.headOut()
	if err := a.client.Finish(headers.AnswerTrailer(res.Trailer, a.named).Fields); err != nil && res.ContentLength < 0 {
		return settle(ctx, because(fromWrite(err)))
	}
	return because(completed)
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

func (a *answer) head(res *asked, closing bool) edge.Head {
	a.named = headers.Named(res.Header)
	h := append(headers.Response(res.Header).Without(requestIDHeader), headers.Field{Name: requestIDHeader, Value: a.live.id})
	return edge.Head{
		Status: res.Status, Header: h, ContentLength: res.ContentLength, Trailer: headers.AnswerTrailer(res.Trailer, a.named).Names, Close: closing,
	}
}

// ready is the body of an answer that knows whether a Read would wait.
type ready interface{ Ready() bool }

// move moves the content. The head goes when it comes, in one write with the
// content that came with it, and whatever was read is on its way before the
// next read begins.
func (a *answer) move(res *asked) *ending {
	a.writes.renew(time.Now())
	if body, knows := res.Body.(ready); !knows || !body.Ready() {
		if err := a.client.Flush(); err != nil {
			return because(fromWrite(err))
		}
		a.live.headOut()
	}
	small := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(small)
	var large *[]byte
	defer func() {
		if large != nil {
			largeBuffers.Put(large)
		}
	}()
	buf := *small
	for {
		n, rerr := res.Body.Read(buf)
		if n > 0 {
			if err := a.write(buf[:n]); err != nil {
				return because(fromWrite(err))
			}
		}
		if rerr == io.EOF {
			return nil
		}
		if rerr != nil {
			return &ending{cause: brokeLate, detail: describe(rerr)}
		}
		switch {
		case n == len(buf) && large == nil:
			large = largeBuffers.Get().(*[]byte)
			buf = *large
		case n < smallBuffer && large != nil:
			largeBuffers.Put(large)
			large, buf = nil, *small
		}
	}
}

func (a *answer) write(p []byte) error {
	now := time.Now()
	a.dog.touchAt(now)
	a.live.piece(now)
	a.taps.chunk(p)
	a.writes.renew(now)
	n, err := a.client.Write(p)
	a.live.headOut()
	a.live.responseBytes.Add(int64(n))
	a.dog.touch()
	return err
}

// writeClock is the rolling write deadline: it cuts a client that stops
// reading. It is renewed when an eighth of it has passed.
type writeClock struct {
	client edge.Client
	limit  time.Duration
	set    time.Time
}

func (c *writeClock) renew(now time.Time) {
	if now.Sub(c.set) < c.limit/8 {
		return
	}
	c.set = now
	_ = c.client.SetWriteDeadline(now.Add(c.limit))
}
