package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/types/key"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a world in which all is well, on the loopback alone, and which a
// test may spoil before it is looked at.
type bench struct {
	t *testing.T
	// names are what the resolver knows.
	names map[string]string
	// api answers as the API does; certificate is what it shows.
	api         http.Handler
	certificate tls.Certificate
	roots       *x509.CertPool
	protocols   []string
	// tailscaled is what the daemon says, nil when it says nothing.
	tailscaled *ipnstate.Status
	aperture   http.Handler
	// running is the proxy that runs, nil when none does.
	running *status.Snapshot
	proxy   http.Handler // its port's

	config string // further lines of [proxy]
	socket string // in place of the daemon's
	edit   func(*config.Config)
}

func newBench(t *testing.T) *bench {
	ca := newAuthority(t, "Test CA")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	b := &bench{
		t: t, names: map[string]string{"api.test.": "127.0.0.1"}, roots: roots, protocols: []string{"h2", "http/1.1"},
		certificate: ca.issue(t, "api.test", time.Now().Add(90*24*time.Hour)),
		api: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != "" {
				t.Error("the doctor sends a credential")
			}
			w.WriteHeader(http.StatusUnauthorized)
		}),
		aperture: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		proxy:    http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	}
	b.tailscaled = b.node()
	well := status.Snapshot{Version: status.Version, Verdict: status.Verdict{Healthy: true, Finding: status.Finding{Level: status.LevelOK, Headline: "Healthy."}},
		Port: status.Port{Wanted: true, Serving: true}}
	b.running = &well
	return b
}

// node is a tailnet with which nothing is wrong.
func (b *bench) node() *ipnstate.Status {
	ip := netip.MustParseAddr("100.64.0.7")
	ai := key.NewNode().Public()
	return &ipnstate.Status{
		Version: ourTailscaleForTest, BackendState: "Running", TailscaleIPs: []netip.Addr{ip}, HaveNodeKey: true,
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example", MagicDNSSuffix: "tail0000.ts.net", MagicDNSEnabled: true},
		Self:           &ipnstate.PeerStatus{DNSName: "anthropic-oauth-proxy.tail0000.ts.net.", HostName: "anthropic-oauth-proxy", TailscaleIPs: []netip.Addr{ip}, Online: true},
		Peer: map[key.NodePublic]*ipnstate.PeerStatus{
			ai: {DNSName: "ai.tail0000.ts.net.", HostName: "ai", Online: true, Active: true, CurAddr: "192.0.2.1:41641", TailscaleIPs: []netip.Addr{netip.MustParseAddr("100.64.0.9")}},
		},
	}
}

const ourTailscaleForTest = "1.102.5"

// examine builds the world and looks at it.
func (b *bench) examine() Report {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := b.t.TempDir()
	api := httptest.NewUnstartedServer(b.api)
	api.TLS = &tls.Config{Certificates: []tls.Certificate{b.certificate}, NextProtos: b.protocols}
	api.EnableHTTP2 = len(b.protocols) > 1
	api.Config.ErrorLog = nobody
	api.StartTLS()
	b.t.Cleanup(api.Close)
	_, port, err := net.SplitHostPort(api.Listener.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	free, err := testkit.FreePorts(2)
	if err != nil {
		b.t.Fatal(err)
	}
	admin, proxy := fmt.Sprintf("127.0.0.1:%d", free[0]), fmt.Sprintf("127.0.0.1:%d", free[1])
	if b.running != nil {
		admin = b.page(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/debug/status" {
				_ = json.NewEncoder(w).Encode(b.running)
			}
		}))
		if b.proxy != nil {
			proxy = b.page(b.proxy)
		}
	}
	socket := b.socket
	switch {
	case socket != "":
	case b.tailscaled != nil:
		socket = testkit.ServeUnix(b.t, b.daemon())
	default:
		socket = filepath.Join(dir, "d.sock")
	}
	file := filepath.Join(dir, "proxy.toml")
	text := fmt.Sprintf("[tailscale]\nsocket = %q\n[proxy]\nlisten_addr = %q\nadmin_addr = %q\nupstream_url = \"https://api.test:%s\"\n%s\n", socket, proxy, admin, port, b.config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	c, err := config.Load(config.Sources{Path: file, Getenv: func(string) string { return "" }})
	if err == nil {
		c.Proxy.UpstreamRoots = b.roots
		if b.edit != nil {
			b.edit(&c)
		}
	}
	return Examine(ctx, World{Config: c, ConfigErr: err, Resolver: b.resolver(), Classify: classify})
}

// classify is the service's in little: package doctor knows no actor.
func classify(st *ipnstate.Status, err error) messages.TailnetStatus {
	t := messages.TailnetStatus{Link: messages.LinkNotConnected}
	switch {
	case err != nil && strings.Contains(err.Error(), "no such file"):
		t.Reason = messages.ReasonSocketAbsent
	case err != nil && strings.Contains(err.Error(), "refused"):
		t.Reason = messages.ReasonRefused
	case err != nil:
		t.Reason, t.Detail = messages.ReasonPollFailed, err.Error()
	case st.BackendState != "Running":
		t.Reason = messages.ReasonNeedsLogin
	default:
		t.Link = messages.LinkConnected
		t.Hostname, _, _ = strings.Cut(st.Self.DNSName, ".")
		t.IP = st.Self.TailscaleIPs[0].String()
		if st.Self.KeyExpiry != nil {
			t.KeyExpiry = *st.Self.KeyExpiry
		}
		if !st.Self.Online {
			t.Impaired = []messages.Impairment{messages.ImpairedControlOffline}
		}
	}
	return t
}

// page serves one handler on a port of its own.
func (b *bench) page(h http.Handler) (addr string) {
	server := httptest.NewServer(h)
	b.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// daemon is a tailscaled as far as the doctor asks.
func (b *bench) daemon() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/localapi/v0/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(b.tailscaled) })
	mux.HandleFunc("/localapi/v0/dial", func(w http.ResponseWriter, r *http.Request) {
		if b.aperture == nil {
			http.Error(w, "no route", http.StatusBadGateway)
			return
		}
		w.Header().Set("Upgrade", "ts-dial")
		w.Header().Set("Connection", "upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			b.t.Error(err)
			return
		}
		defer conn.Close()
		req, err := http.ReadRequest(rw.Reader)
		if err != nil {
			return
		}
		answer := httptest.NewRecorder()
		b.aperture.ServeHTTP(answer, req)
		fmt.Fprintf(conn, "HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", answer.Code)
	})
	return mux
}

// resolver is a DNS server on the loopback, and who asks it.
func (b *bench) resolver() *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := b.reply(buf[:n]); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	b.t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (b *bench) reply(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RecursionAvailable = true, true
	m.Additionals = nil
	q := m.Questions[0]
	all, known := b.names[q.Name.String()]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for ip := range strings.FieldsSeq(all) {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(ip).As4()},
			})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, k}
}

func (a authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: k}
}
