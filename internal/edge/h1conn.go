package edge

import (
	"bytes"
	"errors"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// h1conn is a client's connection that speaks HTTP/1: one exchange after the
// other, on one goroutine at a time, or on none while an exchange is parked or
// the client says nothing.
type h1conn struct {
	*Conn
	engine *engine
	in     intake

	now    atomic.Pointer[h1exchange]
	key    uint64        // names it to the engine, and to the kernel
	ear    *ear          // listens where nobody watches; nil while it is not open
	headBy time.Duration // when the head that is being read has to be whole, since the engine's birth; 0 without

	left    atomic.Bool  // the client has closed its side
	broke   atomic.Bool  // the connection is reset: nothing reaches the client
	watched bool         // by the watcher
	begun   bool         // it is known to speak HTTP/1
	blank   bool         // an empty line came behind the last exchange
	lies    atomic.Int64 // until when it is left to the watcher, in nanoseconds since the engine's birth; 0 while it is not
}

// preface is how a client begins to speak HTTP/2 (RFC 9113 3.4).
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

func (e *engine) newConn(c *Conn) *h1conn {
	h := &h1conn{Conn: c, engine: e}
	h.in.init(c)
	c.atClose(func() { h.riseTo(h.finish) })
	return h
}

// serve serves the connection to its end, until it speaks HTTP/2, or until it
// needs no goroutine for now: an exchange is parked, or nothing comes.
func (c *h1conn) serve() {
	for {
		comes, later := c.await()
		if later {
			return
		}
		if !comes {
			break
		}
		if !c.begun {
			does, later := c.speaksHTTP2()
			if later {
				return
			}
			if does {
				c.engine.handOver(c)
				return
			}
			c.begun = true
		}
		if c.skipsBlank() {
			continue
		}
		x, later := c.readHead()
		if later {
			return
		}
		if x == nil {
			break
		}
		c.blank = false
		c.now.Store(x)
		if c.broke.Load() {
			x.End(ErrGone)
		}
		if x.body == nil && !x.refused {
			x.listen()
		}
		if !c.carry(x, func() bool { return c.engine.handler.ServeExchange(x) }) {
			return
		}
	}
	c.finish()
}

// skipsBlank takes the empty line that some clients send behind their content: it
// begins no head, and the connection is idle as before (RFC 9112 2.2). One is
// enough; more of them have to be followed by a head.
func (c *h1conn) skipsBlank() bool {
	if c.blank || string(c.in.bytes()) != "\r\n" {
		return false
	}
	c.blank = true
	c.in.take(len("\r\n"))
	return true
}

// resume goes on with an exchange that was parked, and with the connection
// behind it.
func (c *h1conn) resume(x *h1exchange, goOn func() bool) {
	if c.carry(x, goOn) {
		c.serve()
	}
}

// carry has the handler carry an exchange on. It reports whether the next one
// is to be waited for; else the connection has ended, or has no goroutine for
// now and is not the caller's any more.
func (c *h1conn) carry(x *h1exchange, handler func() bool) (next bool) {
	if !c.handle(handler) {
		return false
	}
	c.now.Store(nil)
	next, linger := x.end()
	if linger {
		c.linger()
	}
	if !next {
		c.finish()
	}
	return next
}

// finish ends the connection.
func (c *h1conn) finish() {
	c.in.drop()
	c.engine.forget(c)
	_ = c.Close()
}

// await waits for the first byte of a request, which comes, or later wakes
// another goroutine. Neither is so when there will be none.
func (c *h1conn) await() (comes, later bool) {
	if len(c.in.bytes()) > 0 {
		return c.stir(), false
	}
	c.rest()
	patience := headTimeout
	if c.begun {
		patience = keepAlive
		if c.engine.closing.Load() && !c.readable() {
			c.linger() // its last answer may still be on its way
			return false, false
		}
	}
	later, err := c.fillOrLieDown(patience)
	return err == nil && !later && c.stir(), later
}

func (c *h1conn) fillWithin(patience time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return c.in.fill()
}

// speaksHTTP2 reads on for as long as what comes is the preface of HTTP/2, or
// later is woken to.
func (c *h1conn) speaksHTTP2() (does, later bool) {
	for {
		b := c.in.bytes()
		if len(b) >= len(preface) || !bytes.HasPrefix(preface, b) {
			return bytes.HasPrefix(b, preface), false
		}
		if later, err := c.moreOfHead(); later || err != nil {
			return false, later
		}
	}
}

// moreOfHead waits for more of what a connection or a request begins with, which
// has to be whole in time, or later is woken to go on with it.
func (c *h1conn) moreOfHead() (later bool, err error) {
	age := time.Since(c.engine.born)
	if c.headBy == 0 {
		c.headBy = age + headTimeout
	}
	return c.fillOrLieDown(c.headBy - age)
}

var parsers = sync.Pool{New: func() any { return new(headParser) }}

// readHead reads the head of the next request, or later is woken to go on with
// it. It is nil when the client left before it was whole: there is nobody to
// answer.
func (c *h1conn) readHead() (x *h1exchange, later bool) {
	p := parsers.Get().(*headParser)
	defer func() { p.reset(); parsers.Put(p) }()
	for {
		done, refused := p.parse(c.in.bytes())
		if !done && refused == nil {
			later, err := c.moreOfHead()
			switch {
			case later:
				return nil, true
			case err == nil:
				continue
			case !errors.Is(err, os.ErrDeadlineExceeded):
				return nil, false
			}
			refused = slowHead
		}
		r := Request{Proto: HTTP11}
		if done {
			r, refused = p.request(c.in.bytes())
			c.in.take(p.at)
		}
		r.Refusal = refused
		c.headBy = 0
		_ = c.SetReadDeadline(time.Time{})
		return c.newExchange(r), false
	}
}

// handle calls the handler. A panic that comes out of it is a bug: it ends the
// exchange and nothing else. Its value may hold anything and is not told.
func (c *h1conn) handle(handler func() bool) (over bool) {
	defer func() {
		if bug := recover(); bug != nil {
			over = true
			c.engine.log.Error().Str("event", "panic").Type("type", bug).Bytes("stack", debug.Stack()).
				Msg("bug in the data plane; the request was ended")
		}
	}()
	return handler()
}

const (
	lingerTime  = 3 * time.Second
	lingerBytes = 64 << 20
)

// linger closes slowly (RFC 9112 9.6): a connection that is closed under what its
// client still sends is reset, and the answer may be lost with it.
func (c *h1conn) linger() {
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	c.in.drop()
	for n := 0; n < lingerBytes; {
		if c.in.fill() != nil {
			return
		}
		n += len(c.in.bytes())
		c.in.drop()
	}
}

func (c *h1conn) closing() bool { return c.engine.closing.Load() }

// stirs is told by the watcher that the client has sent something to an idle
// connection.
func (c *h1conn) stirs() { c.riseTo(c.serve) }

// hangUp is told by the watcher that the client has closed its side.
func (c *h1conn) hangUp() {
	c.left.Store(true)
	c.stirs()
	if x := c.now.Load(); x != nil {
		x.leftNow()
	}
}

// breaks is told by the watcher that the connection is reset. An upload that
// stands still would not find out.
func (c *h1conn) breaks() {
	c.broke.Store(true)
	c.hangUp()
	if x := c.now.Load(); x != nil {
		x.End(ErrGone)
	}
}
