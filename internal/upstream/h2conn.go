package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
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
	authority string
	raw       net.Conn      // closed without ceremony: nobody may wait for a goodbye
	nc        net.Conn      // TLS over raw
	writer    chan struct{} // has one token while there is something to write
	closed    chan struct{} // closes with the connection
	served    sync.WaitGroup

	reader *http2.Framer // the read loop's

	mu       sync.Mutex
	room     sync.Cond // broadcast when an upload may go on
	out      bytes.Buffer
	spare    bytes.Buffer
	framer   *http2.Framer // writes into out
	block    bytes.Buffer  // where encoder puts a header block
	encoder  *hpack.Encoder
	streams  map[uint32]*h2Stream
	reserved int
	nextID   uint32
	batch    uint64 // of what gathers in out
	broken   error  // why nothing can be written any more
	err      error  // why the connection is of no use any more
	leaving  bool   // the API sent GOAWAY: no new streams

	maxStreams    uint32
	maxFrame      int
	initialWindow int64 // of what we may send on a new stream
	sendWindow    int64 // of what we may send on the connection
	unreturned    int   // read by clients, not yet given back to the connection's window
	lastRead      time.Time
	idleSince     time.Time
	pinged        bool
	clock         *time.Timer
}

const (
	// The windows bound what a client that does not read can make us hold: at
	// most streamWindow per stream. The connection's is wide enough for all of
	// its streams, so that stalled clients never starve the others.
	streamWindow = 128 << 10
	connWindow   = mostStreams * streamWindow
	mostStreams  = 250
	// assumedStreams is the limit until the API has said its own.
	assumedStreams = 100

	// A path that died without a word is found by a ping after quietTime, and
	// given up deadTime later; a connection that nobody uses is closed.
	quietTime  = 30 * time.Second
	deadTime   = 15 * time.Second
	unusedTime = 5 * time.Minute

	// lastWords is how long we listen to a connection on which we cannot write:
	// a peer that closes it has often said why, or which requests it took.
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
	errFlood      = errors.New("upstream demands more than it reads")
)

func newH2Conn(raw net.Conn, secure *tls.Conn, authority string) (*h2Conn, error) {
	c := &h2Conn{
		authority: authority, raw: raw, nc: secure,
		writer: make(chan struct{}, 1), closed: make(chan struct{}),
		streams: make(map[uint32]*h2Stream), nextID: 1,
		maxStreams: assumedStreams, maxFrame: defaultFrame,
		initialWindow: defaultWindow, sendWindow: defaultWindow,
		lastRead: time.Now(), idleSince: time.Now(),
	}
	c.room.L = &c.mu
	c.framer = http2.NewFramer(&c.out, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	c.reader = http2.NewFramer(nil, bufio.NewReaderSize(secure, readBuffer))
	c.reader.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.reader.SetMaxReadFrameSize(defaultFrame)
	c.reader.MaxHeaderListSize = maxHeadBytes
	c.reader.SetReuseFrames()

	c.out.WriteString(http2.ClientPreface)
	err := errors.Join(
		c.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
			http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeadBytes}),
		c.framer.WriteWindowUpdate(0, connWindow-defaultWindow))
	if err != nil {
		return nil, fmt.Errorf("open HTTP/2: %w", err)
	}
	c.clock = time.AfterFunc(deadTime, c.tick)
	c.served.Add(2)
	go c.writeLoop()
	go c.readLoop()
	c.signal()
	return c, nil
}

// reserve keeps a place for one request. Each success is followed by exactly
// one roundTrip.
func (c *h2Conn) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := min(int(c.maxStreams), mostStreams)
	if c.err != nil || c.leaving || c.nextID > lastStreamID || len(c.streams)+c.reserved >= limit {
		return false
	}
	c.reserved++
	return true
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
	c.mu.Unlock()
	c.served.Wait()
}

// fail closes the connection. The caller holds mu.
func (c *h2Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.clock.Stop()
	close(c.closed)
	for _, s := range c.streams {
		stage := Sent
		if s.batch == c.batch {
			stage = Unsent // its head still waits to be written
		}
		s.fail(&Error{Stage: stage, Err: err})
	}
	c.room.Broadcast()
	_ = c.raw.Close()
}

// tick looks after a connection on which nothing moves.
func (c *h2Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	quiet := time.Since(c.lastRead)
	switch {
	case len(c.streams)+c.reserved == 0:
		if c.leaving || time.Since(c.idleSince) >= unusedTime {
			c.fail(errConnUnused)
			return
		}
	case c.pinged && quiet >= quietTime+deadTime:
		c.fail(errConnDead)
		return
	case !c.pinged && quiet >= quietTime:
		c.pinged = true
		_ = c.framer.WritePing(false, [8]byte{'s', 't', 'i', 'l', 'l', 'u', 'p', '?'})
		c.signal()
	}
	c.clock.Reset(deadTime)
}

// signal tells the writer that something waits.
func (c *h2Conn) signal() {
	select {
	case c.writer <- struct{}{}:
	default:
	}
}

func (c *h2Conn) writeLoop() {
	defer c.served.Done()
	for {
		select {
		case <-c.writer:
		case <-c.closed:
			return
		}
		// Who is ready to send does so now; it all goes out in one write.
		runtime.Gosched()
		c.mu.Lock()
		c.out, c.spare = c.spare, c.out
		c.batch++
		c.mu.Unlock()
		_, err := c.spare.WriteTo(c.nc)
		c.mu.Lock()
		if err != nil {
			c.leaving, c.broken = true, err
			_ = c.raw.SetReadDeadline(time.Now().Add(lastWords))
			c.mu.Unlock()
			return
		}
		c.trim(&c.spare)
		c.room.Broadcast()
		c.mu.Unlock()
	}
}

// trim keeps a buffer that once was large from staying so.
func (c *h2Conn) trim(b *bytes.Buffer) {
	if b.Cap() > 2*uploadBacklog {
		*b = bytes.Buffer{}
	}
}

func (c *h2Conn) readLoop() {
	defer c.served.Done()
	for {
		f, err := c.reader.ReadFrame()
		c.mu.Lock()
		c.lastRead, c.pinged = time.Now(), false
		if err == nil {
			err = c.handle(f)
		}
		var se http2.StreamError
		switch {
		case errors.As(err, &se):
			// One bad message does not cost the others their connection.
			c.reset(se.StreamID, se.Code, &Error{Stage: Sent, Err: errMalformed})
		case err != nil && c.broken != nil:
			c.fail(c.broken)
		case err != nil:
			c.fail(readFailure(err))
		case c.out.Len() > floodBacklog:
			c.fail(errFlood)
		}
		over := c.err != nil
		c.mu.Unlock()
		if over {
			return
		}
	}
}

var errMalformed = errors.New("upstream's answer is malformed")

// readFailure keeps what the peer wrote out of an error.
func readFailure(err error) error {
	var ce http2.ConnectionError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errNoAnswer
	case errors.As(err, &ce), errors.Is(err, http2.ErrFrameTooLarge):
		return fmt.Errorf("read frame: %w", err)
	}
	return err
}

// reset ends a stream on both sides. The caller holds mu.
func (c *h2Conn) reset(id uint32, code http2.ErrCode, err *Error) {
	s := c.streams[id]
	if s == nil {
		return
	}
	s.fail(err)
	c.forget(s)
	_ = c.framer.WriteRSTStream(id, code)
	c.signal()
}

// forget takes a stream off the connection. The caller holds mu.
func (c *h2Conn) forget(s *h2Stream) {
	if s.gone {
		return
	}
	s.gone = true
	delete(c.streams, s.id)
	c.vacate()
}

// vacate follows every place that is given back: the last one out of a
// connection that is to end closes it. The caller holds mu.
func (c *h2Conn) vacate() {
	if len(c.streams)+c.reserved > 0 {
		return
	}
	c.idleSince = time.Now()
	if c.leaving {
		c.fail(errGoAway)
	}
}
