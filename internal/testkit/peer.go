package testkit

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Peer is an end of an HTTP/2 connection, played frame by frame. One goroutine
// at a time reads, and one writes: Next and what calls it do both.
type Peer struct {
	*http2.Framer
	Conn net.Conn
	Mute bool // it answers no pings
}

// PeerRequest is a request's head that arrived at a [Peer].
type PeerRequest struct {
	ID     uint32
	Fields map[string]string
	Ended  bool
}

// NewPeer plays an end of c, behind the client's preface.
func NewPeer(c net.Conn) *Peer {
	p := &Peer{Framer: http2.NewFramer(c, c), Conn: c}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return p
}

// AcceptPeer plays the server's end of c, over TLS. It has read the preface and
// sent nothing.
func AcceptPeer(c net.Conn, config *tls.Config) (*Peer, error) {
	secure := tls.Server(c, config)
	if _, err := io.ReadFull(secure, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, err
	}
	return NewPeer(secure), nil
}

// Next returns the next frame but for housekeeping, which it does; nil at the
// end of the connection.
func (p *Peer) Next() http2.Frame {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck()
			}
		case *http2.WindowUpdateFrame:
		case *http2.PingFrame:
			if !f.IsAck() && !p.Mute {
				_ = p.WritePing(true, f.Data)
			}
		default:
			return f
		}
	}
}

// Request waits for the next head; false at the end of the connection.
func (p *Peer) Request() (PeerRequest, bool) {
	for {
		switch f := p.Next().(type) {
		case nil:
			return PeerRequest{}, false
		case *http2.MetaHeadersFrame:
			r := PeerRequest{ID: f.StreamID, Fields: map[string]string{}, Ended: f.StreamEnded()}
			for _, field := range f.Fields {
				r.Fields[field.Name] = field.Value
			}
			return r, true
		}
	}
}

// Hush waits until the other side has said all that it owes, so that it is
// silent.
func (p *Peer) Hush() {
	_ = p.WritePing(false, [8]byte{'h', 'u', 's', 'h'})
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return
		}
		if pong, ok := f.(*http2.PingFrame); ok && pong.IsAck() {
			return
		}
	}
}

// Drain reads on until the connection ends.
func (p *Peer) Drain() {
	for p.Next() != nil {
	}
}

// Head sends a head; fields are names and values in turn.
func (p *Peer) Head(id uint32, end bool, fields ...string) {
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: HeaderBlock(fields...), EndStream: end, EndHeaders: true})
}

// Answer sends a whole small answer.
func (p *Peer) Answer(id uint32, body string) {
	p.Head(id, false, ":status", "200")
	_ = p.WriteData(id, true, []byte(body))
}

// HeaderBlock encodes fields, names and values in turn. It refers to nothing
// that earlier blocks have left in a connection's table.
func HeaderBlock(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}
