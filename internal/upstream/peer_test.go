package upstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is the API's end of an HTTP/2 connection, played frame by frame.
type peer struct {
	*http2.Framer
	conn net.Conn
	mu   sync.Mutex // for writes
	buf  bytes.Buffer
	enc  *hpack.Encoder
	mute bool // answers no pings
}

// farPeers is an API at the other end of f; script owns each connection,
// numbered from 1, before SETTINGS were sent.
func farPeers(t testing.TB, f *far, script func(n int, p *peer)) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := f.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				secure := tls.Server(c, lent.Clone())
				if _, err := io.ReadFull(secure, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				p := &peer{Framer: http2.NewFramer(secure, secure), conn: c}
				p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				p.enc = hpack.NewEncoder(&p.buf)
				script(n, p)
			})
		}
	})
	t.Cleanup(func() { _ = f.Close(); all.Wait() })
}

// next returns the next frame but for housekeeping, which it does; nil at the
// end of the connection.
func (p *peer) next() http2.Frame {
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
			if !f.IsAck() && !p.mute {
				_ = p.WritePing(true, f.Data)
			}
		default:
			return f
		}
	}
}

// request waits for the next head and returns its stream; 0 at the end.
func (p *peer) request() uint32 {
	for {
		switch f := p.next().(type) {
		case nil:
			return 0
		case *http2.MetaHeadersFrame:
			return f.StreamID
		}
	}
}

func (p *peer) drain() {
	for p.next() != nil {
	}
}

func (p *peer) head(id uint32, end bool, fields ...string) {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.buf.Bytes(), EndStream: end, EndHeaders: true})
}

func (p *peer) answer(id uint32, body string) {
	p.head(id, false, ":status", "200")
	_ = p.WriteData(id, true, []byte(body))
}

func limit(n uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: n}
}

// outcome asserts how far a failed attempt came.
func outcome(t *testing.T, what string, err error, stage Stage, code Code) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Stage != stage || e.Code != code {
		t.Errorf("%s: %v (%+v), want stage %d and code %q", what, err, e, stage, code)
	}
}

// post sends a body that streams.
func post(p *Pool, body io.Reader) *Request {
	closer, ok := body.(io.ReadCloser)
	if !ok {
		closer = io.NopCloser(body) // never waits
	}
	return &Request{Method: "POST", Target: "/", ContentLength: -1, Body: closer}
}

func endless() io.Reader { return io.MultiReader(strings.NewReader("begin"), zeros{}) }

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
