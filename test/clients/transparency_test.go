package clients

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

func TestTargetsArriveByteForByte(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		for _, target := range []string{
			"/", "/v1/messages?beta=true", "//a/../b", "/a/./b//c/", "/a%2Fb%2fc", "/%E2%82%AC%20x", "/x?", "/x?a;b",
			"/x?a=1&a=2&&=", "/x?q=%2B+%26", "/|{}^\"`", "/x?|{}^\"`<>", "/\xe2\x82\xac", "/x;p=1/y", "/@:!$'()*,=", "/..", "/health/", "//health", "/metrics/x",
		} {
			raw(t, p.proxy.Addr, "GET "+target+" HTTP/1.1\r\nHost: ai\r\nX-Sim: name="+url.QueryEscape(target)+"\r\nConnection: close\r\n\r\n")
			if got := p.recorded(t, target).Target; got != target {
				t.Errorf("%s: sent %q, upstream saw %q", protocol, target, got)
			}
		}
	}
}

func TestRequestHeadersOnTheWire(t *testing.T) {
	p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{})
	raw(t, p.proxy.Addr, strings.Join([]string{
		"POST /v1/messages HTTP/1.1",
		"Host: ai",
		"Content-Length: 2",
		"X-Sim: name=wire",
		"Authorization: Bearer sk-ant-oat01-test",
		"anthropic-beta: one, two",
		"anthropic-beta: three",
		"anthropic-future: kept",
		"X-Claude-Code-Session-Id: kept",
		"X-Multi: 1",
		"X-Multi: 2",
		"X-Forwarded-For: 100.64.0.1",
		"X-Forwarded-Whatever: leak",
		"Forwarded: for=100.64.0.1",
		"Via: 1.1 leak",
		"Tailscale-User-Login: leak@example.com",
		"Tailscale-Anything: leak",
		"Connection: close, X-Hop",
		"X-Hop: leak",
		"Keep-Alive: leak",
		"Proxy-Connection: leak",
		"Proxy-Authorization: leak",
		"TE: trailers",
		"Upgrade: websocket",
		"", "{}",
	}, "\r\n"))
	rec := p.recorded(t, "wire")
	want := []string{
		"Host: " + p.api.Addr(), "Content-Length: 2", "X-Sim: name=wire", "Authorization: Bearer sk-ant-oat01-test",
		"Anthropic-Beta: one, two", "Anthropic-Beta: three", "Anthropic-Future: kept", "X-Claude-Code-Session-Id: kept",
		"X-Multi: 1", "X-Multi: 2",
	}
	var got, injected []string
	for _, line := range rec.Lines {
		name, value, _ := strings.Cut(line, ":")
		line = textproto.CanonicalMIMEHeaderKey(name) + ":" + value
		if strings.Contains(value, "oauth-2025-04-20") {
			injected = append(injected, line)
			line = strings.Replace(strings.Replace(line, ", oauth-2025-04-20", "", 1), ",oauth-2025-04-20", "", 1)
			if value == " oauth-2025-04-20" {
				continue // a line of its own is as good
			}
		}
		got = append(got, line)
	}
	// net/http may order names as it likes; lines of one name keep their order.
	slices.SortStableFunc(want, byName)
	slices.SortStableFunc(got, byName)
	if !slices.Equal(got, want) {
		t.Errorf("upstream saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(injected) != 1 {
		t.Errorf("the OAuth capability was injected in %q", injected)
	}
}

func byName(a, b string) int {
	an, _, _ := strings.Cut(a, ":")
	bn, _, _ := strings.Cut(b, ":")
	return strings.Compare(an, bn)
}

func TestAnswersArriveByteForByte(t *testing.T) {
	odd := "{ \"type\":\"error\" ,\n\t\"error\":{\"message\":\"a \u2028 b <>&\"}}\n\n"
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		for _, status := range []int{200, 204, 301, 302, 400, 401, 403, 404, 408, 409, 413, 418, 429, 500, 502, 503, 504, 529} {
			plan := sim.Plan{Status: status, Body: odd, Header: []string{
				"Retry-After: 7", "Retry-After-Ms: 7000", "X-Should-Retry: false", "Location: http://127.0.0.1:9/away", "X-Multi: b", "X-Multi: a",
				"Anthropic-Ratelimit-Unified-5h-Utilization: 0.5", "Set-Cookie: a=1", "Set-Cookie: b=2",
			}}
			res := p.post(t, t.Context(), plan, streamRequest)
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatalf("%s %d: %v", protocol, status, err)
			}
			want := odd
			if status == 204 {
				want = "" // has no body
			}
			if res.StatusCode != status || string(body) != want {
				t.Errorf("%s: status %d %q, want %d %q", protocol, res.StatusCode, body, status, want)
			}
			for name, want := range map[string][]string{
				"Retry-After": {"7"}, "Retry-After-Ms": {"7000"}, "X-Should-Retry": {"false"}, "Location": {"http://127.0.0.1:9/away"},
				"X-Multi": {"b", "a"}, "Set-Cookie": {"a=1", "b=2"}, "Anthropic-Ratelimit-Unified-5h-Utilization": {"0.5"},
				"Anthropic-Organization-Id": {"11111111-2222-3333-4444-555555555555"},
			} {
				if !slices.Equal(res.Header[name], want) {
					t.Errorf("%s %d: %s is %q, want %q", protocol, status, name, res.Header[name], want)
				}
			}
			if id := res.Header.Get("X-Proxy-Request-Id"); len(id) != len("req_")+32 {
				t.Errorf("%s %d: x-proxy-request-id is %q", protocol, status, id)
			}
			if !strings.HasPrefix(res.Header.Get("Request-Id"), "req_sim") {
				t.Errorf("%s %d: request-id is %q", protocol, status, res.Header.Get("Request-Id"))
			}
		}
	}
}

// An answer gets nothing but the request id: what the API sends and what the
// client receives differ in no other header.
func TestAnswerHeadersOnTheWire(t *testing.T) {
	p := start(t, sim.Options{Protocol: sim.Plain}, harness.Options{})
	request := func(addr string) []string {
		answer := raw(t, addr, "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nContent-Length: 2\r\nX-Sim: status=200&body=x&notype=1\r\nConnection: close\r\n\r\n{}")
		head, body, _ := strings.Cut(answer, "\r\n\r\n")
		if body != "x" {
			t.Errorf("body of %s is %q", addr, body)
		}
		var names []string
		for _, line := range strings.Split(head, "\r\n")[1:] {
			name, _, _ := strings.Cut(line, ":")
			names = append(names, textproto.CanonicalMIMEHeaderKey(name))
		}
		slices.Sort(names)
		return names
	}
	want := append(request(p.api.Addr()), "X-Proxy-Request-Id")
	slices.Sort(want)
	if got := request(p.proxy.Addr); !slices.Equal(got, want) {
		t.Errorf("the client saw %q, want %q", got, want)
	}
}

func TestCompressedStreamStaysCompressed(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		res := p.post(t, t.Context(), sim.Plan{Deltas: 40, Gzip: true}, streamRequest)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %v, content-encoding %q", protocol, err, res.Header.Get("Content-Encoding"))
		}
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		text, err := io.ReadAll(zip)
		if err != nil || string(text) != strings.Join(sim.Events(40), "") {
			t.Errorf("%s: %v, got %d bytes", protocol, err, len(text))
		}
	}
}

func TestInterimAnswersAndTrailersPass(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, h.Get("Link")))
				return nil
			},
		})
		res := p.post(t, ctx, sim.Plan{Hints: true, Trailer: true, Stream: true}, streamRequest)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if want := []string{"103</style.css>; rel=preload"}; !slices.Equal(hints, want) {
			t.Errorf("%s: interim answers %q", protocol, hints)
		}
		if res.Trailer.Get("X-Sim-Trailer") != "present" {
			t.Errorf("%s: trailer %v", protocol, res.Trailer)
		}
	}
}

// HTTP/2 in clear text from the client: what Aperture or a mesh may speak.
func TestHTTP2FromTheClient(t *testing.T) {
	p := start(t, sim.Options{}, harness.Options{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport}
	res := p.post(t, t.Context(), sim.Plan{Name: "h2c", Gated: true}, streamRequest)
	if res.ProtoMajor != 2 {
		t.Fatalf("the answer came over %s", res.Proto)
	}
	r := bufio.NewReader(res.Body)
	for i, want := range sim.Events(3) {
		p.api.Release("h2c", 1)
		if got, err := readEvent(r); got != want {
			t.Fatalf("event %d: got %q, %v", i, got, err)
		}
	}
}
