package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2peer is an end of an HTTP/2 connection, played frame by frame.
type h2peer struct {
	*http2.Framer
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

// h2request is a head that arrived.
type h2request struct {
	id     uint32
	fields map[string]string
	ended  bool
}

// h2scripted is an API that speaks HTTP/2 over TLS; script owns each
// connection, numbered from 1.
func h2scripted(t testing.TB, script func(n int, p *h2peer)) options {
	t.Helper()
	config := borrow(t)
	u := scripted(t, func(n int, c net.Conn) {
		secure := tls.Server(c, config)
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(secure, preface); err != nil {
			return
		}
		if p := newH2Peer(secure); p.WriteSettings() == nil {
			script(n, p)
		}
	})
	u.Scheme = "https"
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	o := options{api: &url.URL{Scheme: "https", Host: u.Host}}
	o.engine.TLS = &tls.Config{RootCAs: roots}
	return o
}

// borrow takes httptest's certificate, for a server of HTTP/2.
func borrow(t testing.TB) *tls.Config {
	t.Helper()
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(lender.Close)
	return &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}}
}

func newH2Peer(c net.Conn) *h2peer {
	p := &h2peer{Framer: http2.NewFramer(c, c), conn: c}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

// next returns the next frame that is not housekeeping, which it answers; nil
// at the end of the connection.
func (p *h2peer) next() http2.Frame {
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
			if !f.IsAck() {
				_ = p.WritePing(true, f.Data)
			}
		default:
			return f
		}
	}
}

// request waits for the next head; false at the end of the connection.
func (p *h2peer) request() (h2request, bool) {
	for {
		switch f := p.next().(type) {
		case nil:
			return h2request{}, false
		case *http2.MetaHeadersFrame:
			r := h2request{id: f.StreamID, fields: map[string]string{}, ended: f.StreamEnded()}
			for _, field := range f.Fields {
				r.fields[field.Name] = field.Value
			}
			return r, true
		}
	}
}

// drain reads on until the connection ends.
func (p *h2peer) drain() {
	for p.next() != nil {
	}
}

// head sends a head; fields are names and values in turn.
func (p *h2peer) head(id uint32, end bool, fields ...string) {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.buf.Bytes(), EndStream: end, EndHeaders: true})
}

// answer sends a whole small answer.
func (p *h2peer) answer(id uint32, body string) {
	p.head(id, false, ":status", "200")
	_ = p.WriteData(id, true, []byte(body))
}

// tally counts the requests that an API saw, by method.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *tally) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[method]++
}

func (c *tally) of(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[method]
}
