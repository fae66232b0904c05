package sim

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FrameFault is what a [FrameAPI] does to a request, in HTTP/2's own words.
type FrameFault int

// The faults. The zero fault answers with a whole stream of three deltas.
const (
	Whole      FrameFault = iota
	RefuseIt              // RST_STREAM REFUSED_STREAM before any answer
	ResetIt               // half a stream, then RST_STREAM INTERNAL_ERROR
	GoAwayIt              // half a stream, then GOAWAY INTERNAL_ERROR and the end of the connection
	GoAwayPast            // GOAWAY NO_ERROR whose last stream is the one before, and the end of the connection
)

// A FrameAPI is an upstream over TLS and HTTP/2 that writes its frames itself,
// and so does what net/http's server never would. It answers every request
// with the fault that the function given to [StartFrames] names.
type FrameAPI struct {
	*conns
	fault func(n int) FrameFault
	total atomic.Int64
}

// StartFrames begins to listen. fault says what becomes of the n-th POST,
// counted from 1; other requests are answered whole. The caller must Close the
// API.
func StartFrames(ca *CA, fault func(n int) FrameFault) (*FrameAPI, error) {
	conf, err := ca.ServerConfig("h2")
	if err != nil {
		return nil, err
	}
	socket, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &FrameAPI{fault: fault}
	a.conns = accept(socket, a.serve)
	return a, nil
}

// URL is the API's base URL, without a path.
func (a *FrameAPI) URL() string { return "https://" + a.socket.Addr().String() }

// Total is how many POSTs have arrived.
func (a *FrameAPI) Total() int { return int(a.total.Load()) }

func (a *FrameAPI) serve(conn net.Conn) {
	preface := make([]byte, len(http2.ClientPreface))
	for read := 0; read < len(preface); {
		n, err := conn.Read(preface[read:])
		if err != nil {
			return
		}
		read += n
	}
	c := &frameConn{api: a, fr: http2.NewFramer(conn, conn), post: map[uint32]bool{}}
	c.enc = hpack.NewEncoder(&c.head)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if c.fr.WriteSettings() != nil {
		return
	}
	for c.step() {
	}
}

// frameConn is one connection; its one goroutine reads and writes.
type frameConn struct {
	api  *FrameAPI
	fr   *http2.Framer
	post map[uint32]bool // open streams, and which of them are POSTs
	head bytes.Buffer
	enc  *hpack.Encoder // into head
}

// step handles one frame; false ends the connection.
func (c *frameConn) step() bool {
	f, err := c.fr.ReadFrame()
	if err != nil {
		return false
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return f.IsAck() || c.fr.WriteSettingsAck() == nil
	case *http2.PingFrame:
		return f.IsAck() || c.fr.WritePing(true, f.Data) == nil
	case *http2.MetaHeadersFrame:
		c.post[f.StreamID] = f.PseudoValue("method") == "POST"
		return !f.StreamEnded() || c.answer(f.StreamID)
	case *http2.DataFrame:
		if n := uint32(f.Length); n > 0 && (c.fr.WriteWindowUpdate(0, n) != nil || c.fr.WriteWindowUpdate(f.StreamID, n) != nil) {
			return false
		}
		return !f.StreamEnded() || c.answer(f.StreamID)
	}
	return true
}

func (c *frameConn) answer(id uint32) bool {
	fault := Whole
	if c.post[id] {
		fault = c.api.fault(int(c.api.total.Add(1)))
	}
	delete(c.post, id)
	events := Events(3)
	switch fault {
	case RefuseIt:
		return c.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) == nil
	case GoAwayPast:
		_ = c.fr.WriteGoAway(id-1, http2.ErrCodeNo, nil)
		return false
	case ResetIt:
		return c.stream(id, events[:4], false) && c.fr.WriteRSTStream(id, http2.ErrCodeInternal) == nil
	case GoAwayIt:
		if c.stream(id, events[:4], false) {
			_ = c.fr.WriteGoAway(id, http2.ErrCodeInternal, nil)
		}
		return false
	}
	return c.stream(id, events, true)
}

func (c *frameConn) stream(id uint32, events []string, whole bool) bool {
	c.head.Reset()
	for _, f := range [][2]string{{":status", "200"}, {"content-type", "text/event-stream"}, {"request-id", "req_simframes"}} {
		_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer takes all
	}
	err := c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.head.Bytes(), EndHeaders: true})
	return err == nil && c.fr.WriteData(id, whole, []byte(strings.Join(events, ""))) == nil
}
