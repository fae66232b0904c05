package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"anthropic-oauth-proxy/internal/testkit"
)

// h2scripted is an API that speaks HTTP/2 over TLS; script owns each
// connection, numbered from 1.
func h2scripted(t testing.TB, script func(n int, p *testkit.Peer)) options {
	t.Helper()
	config := borrow(t)
	u := scripted(t, func(n int, c net.Conn) {
		if p, err := testkit.AcceptPeer(c, config); err == nil && p.WriteSettings() == nil {
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
	o := options{api: &url.URL{Scheme: "https", Host: u.Host}, frames: true}
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
