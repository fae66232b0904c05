package upstream_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/testkit/standard"
	"anthropic-oauth-proxy/internal/upstream"
)

type engine interface {
	RoundTrip(ctx context.Context, req *upstream.Request) (*upstream.Response, error)
	Close()
}

// engines are the product's and the standard library's.
var engines = map[string]func(*url.URL, upstream.Options) engine{
	"own":      func(u *url.URL, o upstream.Options) engine { return upstream.New(u, o) },
	"standard": func(u *url.URL, o upstream.Options) engine { return standard.New(u, o) },
	"conns":    func(u *url.URL, o upstream.Options) engine { return standard.NewConns(u, o) },
}

var wires = []string{"plain", "tls1", "tls2"}

// both serves h on a wire and returns the two engines before it.
func both(t testing.TB, wire string, h http.HandlerFunc) map[string]engine {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.DisableGeneralOptionsHandler = true
	var o upstream.Options
	if wire == "plain" {
		s.Start()
	} else {
		s.EnableHTTP2 = wire == "tls2"
		s.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		o.TLS = &tls.Config{RootCAs: roots}
	}
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]engine)
	for name, make := range engines {
		if name == "conns" && wire == "tls2" {
			continue // they speak HTTP/1.1 alone
		}
		e := make(u, o)
		t.Cleanup(e.Close)
		out[name] = e
	}
	return out
}

// tell answers with all that it saw of the request.
func tell(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/cut" {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get("Early") != "" {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	body, err := io.ReadAll(r.Body)
	var heads []string
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		heads = append(heads, fmt.Sprint(name, r.Header[name]))
	}
	w.Header().Set("Saw", fmt.Sprint(r.Method, " ", r.RequestURI, " ", heads, " ", r.ContentLength, " ", r.Trailer))
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	w.Header().Set("Trailer", "X-Sum")
	switch r.URL.Path {
	case "/204":
		w.WriteHeader(204)
		return
	case "/304":
		w.WriteHeader(304)
		return
	}
	_, _ = w.Write(body)
	w.Header().Set("X-Sum", fmt.Sprintf("%x %v", sha256.Sum256(body), err))
}

// What an API sees of a request, and what comes back of its answer, is the same
// with either engine.
func TestTheOracleAgrees(t *testing.T) {
	large := strings.Repeat("0123456789", 100_000)
	type ask struct {
		method, target, body string
		header               headers.Fields
		unknown              bool
		trailer              *headers.Trailer
	}
	asks := []ask{
		{method: "GET", target: "/"},
		{method: "GET", target: "/a%2Fb/../c;x?q=%20&a;b"},
		{method: "GET", target: "/?"},
		{method: "GET", target: "//a/../b"},
		{method: "HEAD", target: "/h"},
		{method: "OPTIONS", target: "*"},
		{method: "DELETE", target: "/d"},
		{method: "POST", target: "/empty"},
		{method: "POST", target: "/small", body: "small"},
		{method: "POST", target: "/large", body: large},
		{method: "PUT", target: "/unknown", body: large, unknown: true},
		{method: "POST", target: "/trailer", body: "small", unknown: true, trailer: &headers.Trailer{Names: []string{"x-After"}, Fields: headers.Fields{{Name: "X-After", Value: "yes"}}}},
		{method: "POST", target: "/expect", body: large, header: headers.Fields{{Name: "expect", Value: "100-continue"}}},
		{method: "GET", target: "/early", header: headers.Fields{{Name: "Early", Value: "yes"}, {Name: "X-TWO", Value: "1"}, {Name: "user-agent", Value: "agent"}, {Name: "x-two", Value: "2"}}},
		{method: "GET", target: "/204"},
		{method: "GET", target: "/304"},
		{method: "GET", target: "/cut"},
	}
	for _, wire := range wires {
		es := both(t, wire, tell)
		for _, a := range asks {
			answers := map[string]string{}
			for name, e := range es {
				var early []string
				req := &upstream.Request{
					Method: a.method, Target: a.target, Header: a.header, ContentLength: int64(len(a.body)), Trailer: a.trailer,
					Interim: func(status int, h headers.Fields) { early = append(early, fmt.Sprint(status, h.Get("Link"))) },
				}
				if a.body != "" {
					req.Body = io.NopCloser(strings.NewReader(a.body))
				}
				if a.unknown {
					req.ContentLength = -1
				}
				answers[name] = told(t, e, req, &early)
			}
			for name, answer := range answers {
				if answer != answers["own"] {
					t.Errorf("%s, %s %s:\nown %.600s\n%s %.600s", wire, a.method, a.target, answers["own"], name, answer)
				}
			}
		}
	}
}

func told(t *testing.T, e engine, req *upstream.Request, early *[]string) string {
	t.Helper()
	res, err := e.RoundTrip(t.Context(), req)
	if err != nil {
		var failed *upstream.Error
		errors.As(err, &failed)
		return fmt.Sprintf("error, stage %v, dial %v", failed.Stage, failed.Dial)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	h := res.Header.Without("date").HTTP() // in no order
	trailer := cmp.Or(res.Trailer, &headers.Trailer{})
	return fmt.Sprint(res.Status, *early, h, res.ContentLength, len(body), fmt.Sprintf(" %x ", sha256.Sum256(body)), trailer.Names, trailer.Fields.HTTP(), err != nil)
}

// cpu is the processor time that the process has used: the figure to trust on a
// machine that others use too.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRoundTrip is what an engine costs beside the library, the same server
// behind both.
func BenchmarkRoundTrip(b *testing.B) {
	answer := bytes.Repeat([]byte("x"), 1<<10)
	for _, wire := range wires {
		es := both(b, wire, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write(answer)
		})
		for _, name := range []string{"own", "standard", "conns"} {
			b.Run(wire+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(16)
				header := headers.FromHTTP(http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer x"}, "User-Agent": {"a"}})
				before := cpu(b)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						res, err := es[name].RoundTrip(b.Context(), &upstream.Request{
							Method: "POST", Target: "/v1/messages", Header: header, Whole: true, ContentLength: int64(len(answer)),
							Body: io.NopCloser(bytes.NewReader(answer)),
						})
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				})
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
			})
		}
	}
}
