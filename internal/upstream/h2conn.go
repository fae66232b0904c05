package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Conn is an HTTP/2 connection (RFC 9113), shared by many requests. Framing
// and header compression are golang.org/x/net's; what is here decides when a
// frame is sent and who hears of one that comes.
//
// Two goroutines serve it: one reads frames, the other writes what has
// gathered since its last write, so that the frames of many requests share a
// TLS record and a system call. Neither ever waits for a client.
type h2Conn struct {
	pool   *Pool
	raw    net.Conn      // closed without ceremony: nobody may wait for a goodbye
	nc     net.Conn      // TLS over raw
	below  *gatherer     // between the two
	writer chan struct{} // has one token while there is something to write
	closed chan struct{} // closes with the connection
	served sync.WaitGroup
	reader *http2.Framer // the read loop's, as is head
	head   *fieldBlock
	facts  connFacts

	mu      sync.Mutex
	room    sync.Cond // broadcast when an upload may go on
	out     batch
	framer  *http2.Framer // writes into out
	block   bytes.Buffer  // where encoder puts a header block
	encoder *hpack.Encoder
	streams map[uint32]*h2Stream
	woken   []Waiter // to be told once mu is free
	nextID  uint32
	err     error // why the connection is of no use any more
	leaving bool  // no new streams: GOAWAY, from either side or in spirit
	said    Code  // by the API's GOAWAY

	batches uint64 // how many were written: the number of the one that gathers in out
	broken  error  // why nothing can be written any more
	written int    // of the batch whose write failed

	places placeBook
	pulse  pulse

	maxFrame      int
	initialWindow int64 // of what we may send on a new stream
	send          sharedWindow
	receive       receiveWindow // returned as content comes: streams that nobody reads cost the others nothing
	grants        grants
}

// connFacts do not change in a connection's life.
type connFacts struct {
	born      time.Time
	aged      time.Time // when it should make way for another
	handshake time.Duration
	remote    string
}

func factsOf(l *link) connFacts {
	now := time.Now()
	return connFacts{born: now, aged: now.Add(lifetime()), handshake: l.handshake, remote: l.raw.RemoteAddr().String()}
}

const (
	// connWindow is what may be on the way on a connection. It is given back on
	// arrival and so never closes: the windows of the streams are what bounds
	// memory.
	connWindow = 128 << 20
	// mostStreams is what one connection carries, whatever the API allows.
	mostStreams = 250
	// assumedStreams is what a connection is expected to allow before the first
	// one has said so.
	assumedStreams = 100

	// lastWords is how long we listen to a connection on which we cannot write:
	// a peer that closes it has often said why, or which requests it took
	// (RFC 9113 6.8).
	lastWords = time.Second

	// uploadBacklog is how much may wait to be written before uploads pause;
	// floodBacklog is when a peer's own demands have gone too far.
	uploadBacklog = 64 << 10
	floodBacklog  = 4 << 20

	defaultWindow = 65535
	defaultFrame  = 16 << 10
	lastStreamID  = 1<<31 - 1
)

var (
	errGoAway     = errors.New("upstream is closing the connection")
	errConnUnused = errors.New("connection was idle for too long")
	errConnDead   = errors.New("upstream does not answer pings")
	errConnShut   = errors.New("upstream takes no more content on the connection")
	errFlood      = errors.New("upstream demands more than it reads")
)

func newH2Conn(p *Pool, l *link) *h2Conn {
	now := time.Now()
	c := &h2Conn{
		pool: p, raw: l.raw, nc: l.stream, below: l.below, head: newFieldBlock(),
		facts:  factsOf(l),
		writer: make(chan struct{}, 1), closed: make(chan struct{}),
		streams: make(map[uint32]*h2Stream), nextID: 1, maxFrame: defaultFrame,
		places:        placeBook{room: mostStreams},
		initialWindow: defaultWindow, send: sharedWindow{sendWindow: sendWindow{defaultWindow}},
		receive: newReceiveWindow(connWindow), grants: grants{initial: p.budget.window(), unacked: true},
		pulse: pulse{lastRead: now, idleSince: now, greetedAt: now},
	}
	c.below.gather()
	c.room.L = &c.mu
	c.framer = http2.NewFramer(&c.out, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	// TLS holds the whole record anyway; this saves it being asked for each head.
	c.reader = http2.NewFramer(nil, bufio.NewReaderSize(c.nc, eventSize))
	c.reader.SetMaxReadFrameSize(defaultFrame)
	c.reader.SetReuseFrames()

	// What is written to memory does not fail.
	_, _ = c.out.Write([]byte(http2.ClientPreface))
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.grants.initial)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeadBytes})
	_ = c.framer.WriteWindowUpdate(0, connWindow-defaultWindow)
	c.pulse.clock = time.AfterFunc(quietTime, c.tick)
	c.served.Add(2)
	go c.writeLoop()
	go c.readLoop()
	c.signal()
	return c
}

// dead reports whether the connection is closed.
func (c *h2Conn) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// close ends the connection with everything on it and waits for its
// goroutines.
func (c *h2Conn) close() {
	c.mu.Lock()
	c.fail(ErrClosed)
	c.unlock()
	c.served.Wait()
}

// fail closes the connection. The caller holds mu and leaves it with unlock.
func (c *h2Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.pulse.clock.Stop()
	close(c.closed)
	for _, s := range c.streams {
		s.fail(&Error{Stage: c.stageOf(s), Code: c.said, Err: err})
	}
	c.room.Broadcast()
	_ = c.raw.Close()
	c.pool.freed()
}

// stageOf says how far a stream can have come on a connection that fails: a
// head that was not written to its end was not read either.
func (c *h2Conn) stageOf(s *h2Stream) Stage {
	if s.batch == c.batches || c.broken != nil && s.batch+1 == c.batches && s.headEnd > c.written {
		return Unsent
	}
	return Sent
}

// leave lets the connection carry what it carries and nothing new. The caller
// holds mu.
func (c *h2Conn) leave(why error) {
	c.leaving = true
	if len(c.streams)+c.places.reserved == 0 {
		c.fail(why)
		return
	}
	c.pool.freed() // who waited for a place here needs another connection
}

// broke follows what cannot be read. One bad message does not cost the others
// their connection. The caller holds mu.
func (c *h2Conn) broke(err error) {
	var se http2.StreamError
	switch {
	case errors.As(err, &se):
		c.reset(se.StreamID, se.Code, &Error{Stage: Sent, Err: ErrNotHTTP})
	case c.broken != nil:
		c.fail(c.broken)
	default:
		c.fail(readFailure(err))
	}
}

// writeData sends content in a record of its own. The caller holds mu.
func (c *h2Conn) writeData(id uint32, end bool, p []byte) {
	c.out.cut()
	_ = c.framer.WriteData(id, end, p)
	c.out.cut()
}

// reset ends a stream on both sides. The caller holds mu.
func (c *h2Conn) reset(id uint32, code http2.ErrCode, err *Error) {
	s := c.streams[id]
	if s == nil {
		return
	}
	s.fail(err)
	_ = c.framer.WriteRSTStream(id, code)
	c.signal()
}

// vacate follows every place that is given back: the last one out of a
// connection that is to end closes it. The caller holds mu.
func (c *h2Conn) vacate() {
	c.pool.freed()
	if len(c.streams)+c.places.reserved > 0 {
		return
	}
	c.pulse.idleSince = time.Now()
	switch {
	case c.leaving:
		c.fail(errGoAway)
	case c.send.shutFor() >= shutPatience:
		c.fail(errConnShut)
	}
}
