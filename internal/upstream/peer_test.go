package upstream

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

// peer is the API's end of an HTTP/2 connection.
type peer struct {
	*testkit.Peer
	mu sync.Mutex // for tests whose goroutines write at once
}

// farPeers is an API at the other end of f; script owns each connection,
// numbered from 1, before SETTINGS were sent.
func farPeers(t testing.TB, f *far, script func(n int, p *peer)) {
	t.Helper()
	testkit.Script(t, f, func(n int, c net.Conn) {
		if p, err := testkit.AcceptPeer(c, lent.Clone()); err == nil {
			script(n, &peer{Peer: p})
		}
	})
}

// request waits for the next head and returns its stream; 0 at the end.
func (p *peer) request() uint32 {
	r, _ := p.Request()
	return r.ID
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
