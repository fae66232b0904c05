package proxy

import (
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
)

// exchange is one proxied request from its head to its record. It belongs to
// the goroutine that serves it, and while there is none, because its answer is
// parked, to whoever the API's next word wakes. Only it knows all that its parts
// need.
type exchange struct {
	h      *Handler
	ticket *admission.Ticket // nil before the gate knows it
	in     *intake           // nil before the gate let it in, and once all of it was sent
	answer                   // with the client, the books and the clock, which are for all parts
}

// ServeExchange serves one request.
func (h *Handler) ServeExchange(c edge.Client) (over bool) {
	r := c.Request()
	target := targetOf(r)
	if page := h.page(r, target); page != nil {
		edge.ServePage(c, page)
		return true
	}
	x := h.newExchange(c, target)
	return x.run(func() *ending { return x.serve(target) })
}

// run goes a part of the way, and ends the exchange behind the last one: a panic
// on its way through is counted too. A part that returns no ending has left the
// exchange parked, and it is not touched any more.
func (x *exchange) run(part func() *ending) (over bool) {
	var end *ending
	defer func() {
		if v := recover(); v != nil {
			x.tellBug(v)
			end = because(bug)
		}
		if over = end != nil; over {
			x.close(end)
		}
	}()
	end = part()
	return over
}

// page is the page of our own that a request is for, nil for the API's.
func (h *Handler) page(r *edge.Request, target string) http.Handler {
	if r.Refusal != nil || target == "" {
		return nil
	}
	if left, counted := hops(r); counted && left == 0 {
		return lastStop
	}
	return h.Local[pathOf(target)]
}

func (h *Handler) newExchange(c edge.Client, target string) *exchange {
	r := c.Request()
	// Only of what is forwarded is told: an absolute target or a tunnel's may
	// name a user and a password.
	x := &exchange{h: h, answer: answer{
		client: c, live: newLive(r.Method, target, r.Header), dog: watchdog{clock: h.clock}, idle: h.Limits.IdleTimeout,
	}}
	x.owner = x
	x.taps = follow(h.watchers, x.live, r.Header, x)
	return x
}

// serve is the way of a request, from top to bottom, as far as it goes without
// waiting for more of an answer. target is what goes upstream; empty when nothing
// can.
func (x *exchange) serve(target string) *ending {
	r := x.client.Request()
	if end := x.admit(r, target); end != nil {
		return end
	}
	x.in = newIntake(x.h, r, x.live, &x.dog)
	fail := x.client.End
	if end := x.takeIn(x.in, r, fail); end != nil {
		return end.unsent()
	}
	r.Header = headers.Request(r.Header, x.h.Rules)
	if x.in.ahead() {
		r.Header = r.Header.Without("Expect") // there is nothing left to ask for
	}
	countDown(r)
	asking := attempts{api: x.h.Upstream, limits: x.h.Limits, live: x.live, dog: &x.dog, fail: fail, interim: x.interim, repeated: x.repeated}
	var end *ending
	if x.res, end = asking.ask(x.client.Context(), target, r, x.in); end != nil {
		return end
	}
	x.slim()
	x.live.answers(x.res.Status, x.res.Header.Get("Request-Id"))
	return x.relay(x.h.Gate.Closed())
}

// slim lets go of the request, once it was answered: many streams wait for long.
func (x *exchange) slim() {
	if x.res.upload.complete() {
		x.in.close()
		x.in, x.res.upload = nil, nil
	}
}

// admit judges the head and makes the request known to the gate: a drain waits
// for it from here on, also while its body is read.
func (x *exchange) admit(r *edge.Request, target string) *ending {
	// Whatever becomes of it: that it came is evidence that peers reach us.
	x.h.Metrics.lastRequest.SetToCurrentTime()
	if r.Refusal != nil {
		return &ending{cause: rulesBroken, refusal: r.Refusal}
	}
	switch {
	case r.Method == http.MethodConnect:
		return because(noTunnel)
	case target == "":
		return because(unforwardable)
	case r.ContentLength > x.h.Limits.MaxBodyBytes:
		return because(tooLarge)
	}
	ticket, err := x.h.Gate.Arrive(x.client)
	if err != nil {
		return because(fromGate(err))
	}
	x.ticket = ticket
	return nil
}

// takeIn reads a short body, waits for a place, and reads on for who had to wait
// long. Who left in the meantime is forgotten, and nothing of it goes upstream.
func (x *exchange) takeIn(in *intake, r *edge.Request, fail func(cause error)) *ending {
	ctx := x.client.Context()
	if end := in.readShort(ctx, fail, r.Header.Has("Expect")); end != nil {
		return end
	}
	x.live.enter(InAdmit)
	caller := x.identify(r)
	m := x.h.Metrics
	m.queued.Inc()
	var waited bool
	var err error
	x.live.queued.Store(int64(x.live.elsewhere(func() { waited, err = x.ticket.Enter(ctx, caller) })))
	m.queued.Dec()
	if err != nil {
		return because(fromGate(err))
	}
	x.live.reach(atAdmitted)
	if waited && r.Proto != edge.HTTP2 {
		if end := in.catchUp(ctx, fail); end != nil {
			return end
		}
		if x.client.HungUp() {
			return because(clientLeft)
		}
	}
	x.live.enter(InWait)
	return nil
}

// identify names the caller, for the record and for the line.
func (x *exchange) identify(r *edge.Request) admission.Caller {
	if x.h.Identify != nil {
		if caller, ok := x.h.Identify(x.client); ok {
			x.live.caller.Store(&caller)
			return x.h.line.node(caller.Node)
		}
	}
	return x.h.line.stranger(r.Header, x.client.Peer)
}

// interim passes a 1xx answer on while the final one is awaited.
func (x *exchange) interim(status int, h headers.Fields) {
	_ = x.client.Interim(status, headers.Response(h)) // a client that is gone is found out by itself
}

// repeated counts and tells of an attempt that is made again.
func (x *exchange) repeated(failed ending, reason repeat) {
	x.h.Metrics.retries[reason].Inc()
	x.h.Log.Warn().Str("event", "retry").Stringer("request_id", x.live.id).Str("reason", string(reason)).
		Int("attempt", int(x.live.attempts.Load())).Str("error", failed.detail).Msg("upstream attempt failed; trying again")
}

// let lets go of what stands between the client and the API.
func (x *exchange) let() {
	if x.res.Response != nil {
		x.res.close()
	}
	if x.in != nil {
		x.in.close()
	}
}

// close ends the exchange, whatever became of it. The client first, then the
// place, then the books.
func (x *exchange) close(end *ending) {
	x.let()
	x.dog.stop()
	x.live.finish(end, x.blame(end.row().by))
	x.part(end)
	x.client.End(context.Canceled)
	if x.ticket != nil {
		x.ticket.Leave()
	}
	x.live.reach(atEnd)
	r := x.live.Record()
	x.taps.ended(r)
	for _, s := range x.h.sinks {
		s.Ended(r)
	}
}

// part leaves the client: an answer that is whole needs no more, one that was
// begun breaks, and who has heard nothing yet is told, also when it has closed
// its side: it may still listen.
func (x *exchange) part(end *ending) {
	switch {
	case end.cause == completed:
	case x.live.standing() == InStream, !end.tells():
		x.client.Abort()
	default:
		x.tell(end)
	}
}

// tellTime bounds how long a client may take to read an error of ours.
const tellTime = 3 * time.Second

// tell answers in the API's place.
func (x *exchange) tell(end *ending) {
	a := end.answer()
	id := x.live.id.String()
	body := a.Body(id)
	h := append(a.Header(), headers.Field{Name: requestIDHeader, Value: id},
		headers.Field{Name: "Date", Value: time.Now().UTC().Format(http.TimeFormat)})
	x.live.status.Store(int32(a.Status))
	_ = x.client.SetWriteDeadline(time.Now().Add(tellTime))
	x.client.Respond(edge.Head{Status: a.Status, Header: h, ContentLength: int64(len(body)), Close: end.closes()})
	n, err := x.client.Write(body)
	x.live.responseBytes.Store(int64(n))
	if err == nil {
		err = x.client.Finish(nil)
	}
	if err != nil {
		x.client.Abort()
	}
}

// blame is who ended it: who loses a client while the tailnet is lost blames
// that.
func (x *exchange) blame(by Party) Party {
	if by == ByClient && x.h.TailnetLost != nil && x.h.TailnetLost() {
		return ByTailnet
	}
	return by
}

// tellBug says where a bug is, never what with: a panic's value may hold
// anything.
func (x *exchange) tellBug(v any) {
	x.h.Log.Error().Str("event", "panic").Stringer("request_id", x.live.id).Type("type", v).
		Bytes("stack", debug.Stack()).Msg("bug in the data plane; the request was ended")
}
