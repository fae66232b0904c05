package clients

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// Each of these gets the status and nothing of it reaches the API.
func TestHostileRequestsAreRefused(t *testing.T) {
	p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{Proxy: "max_body_mib = 1"})
	for name, c := range map[string]struct {
		request string
		want    string // statuses that will do
	}{
		"two content-lengths":                {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "400"},
		"a list of content-lengths":          {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 5, 6\r\n\r\nhello!", "400"},
		"a negative content-length":          {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: -1\r\n\r\n", "400"},
		"a signed content-length":            {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: +5\r\n\r\nhello", "400"},
		"a hexadecimal content-length":       {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 0x5\r\n\r\nhello", "400"},
		"an endless content-length":          {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
		"chunked twice":                      {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 501"},
		"gzip and chunked":                   {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400 501"},
		"identity":                           {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: identity\r\n\r\n", "400 501"},
		"an unknown coding":                  {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400 501"},
		"a coding with a vertical tab":       {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", "400 501"},
		"a space before the colon":           {"POST / HTTP/1.1\r\nHost: ai\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
		"a folded header":                    {"GET / HTTP/1.1\r\nHost: ai\r\n X-Folded: 1\r\n\r\n", "400"},
		"no host":                            {"GET / HTTP/1.1\r\n\r\n", "400"},
		"two hosts":                          {"GET / HTTP/1.1\r\nHost: ai\r\nHost: evil\r\n\r\n", "400"},
		"a host with a path":                 {"GET / HTTP/1.1\r\nHost: ai/evil\r\n\r\n", "400"},
		"a NUL in a value":                   {"GET / HTTP/1.1\r\nHost: ai\r\nX-A: a\x00b\r\n\r\n", "400"},
		"a bare CR in a value":               {"GET / HTTP/1.1\r\nHost: ai\r\nX-A: a\rX-B: b\r\n\r\n", "400"},
		"a space in a name":                  {"GET / HTTP/1.1\r\nHost: ai\r\nX A: a\r\n\r\n", "400"},
		"no header name":                     {"GET / HTTP/1.1\r\nHost: ai\r\n: a\r\n\r\n", "400"},
		"a space in the target":              {"GET /a b HTTP/1.1\r\nHost: ai\r\n\r\n", "400"},
		"a control character in the target":  {"GET /a\x01b HTTP/1.1\r\nHost: ai\r\n\r\n", "400"},
		"a target without a slash":           {"GET v1/messages HTTP/1.1\r\nHost: ai\r\n\r\n", "400"},
		"a method with a space":              {"GE T / HTTP/1.1\r\nHost: ai\r\n\r\n", "400"},
		"an unknown version":                 {"GET / HTTP/9.9\r\nHost: ai\r\n\r\n", "400 505"},
		"an unknown expectation":             {"POST / HTTP/1.1\r\nHost: ai\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx", "417"},
		"CONNECT":                            {"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "400 405"},
		"CONNECT with a path":                {"CONNECT /v1/messages HTTP/1.1\r\nHost: ai\r\n\r\n", "400 405"},
		"a header block of 70 KiB":           {"GET / HTTP/1.1\r\nHost: ai\r\nX-Big: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", "431"},
		"a thousand headers of 70 KiB":       {"GET / HTTP/1.1\r\nHost: ai\r\n" + strings.Repeat("X-Many: "+strings.Repeat("b", 62)+"\r\n", 1000) + "\r\n", "431"},
		"a body over the limit, announced":   {"POST / HTTP/1.1\r\nHost: ai\r\nContent-Length: 2000000\r\n\r\n", "413"},
		"a body over the limit, expectation": {"POST / HTTP/1.1\r\nHost: ai\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n", "413"},
		"not HTTP":                           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n", "400"},
	} {
		before := p.api.Total()
		conn := dialRaw(t, p.proxy.Addr)
		// The server may answer and close before it has read everything.
		go func() {
			_, _ = io.WriteString(conn, c.request)
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		answer, _ := io.ReadAll(conn)
		line, _, _ := strings.Cut(string(answer), "\r\n")
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(c.want, fields[1]) {
			t.Errorf("%s: got %q, want %s", name, line, c.want)
		}
		if n := p.api.Total() - before; n != 0 {
			t.Errorf("%s: %d requests reached the API", name, n)
		}
	}
	res := p.post(t, t.Context(), sim.Plan{}, streamRequest)
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		t.Errorf("afterwards a good request got %d, %v", res.StatusCode, err)
	}
}

// A request with two lengths is read in two ways by two readers: it is refused,
// and nothing of it, nor of what hides behind it, reaches the API.
func TestTwoLengthsSmuggleNothing(t *testing.T) {
	for _, lengths := range []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5",
	} {
		p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{})
		answer := raw(t, p.proxy.Addr, "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Sim: name=two\r\n"+lengths+"\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ai\r\nConnection: close\r\n\r\n")
		if n := strings.Count(answer, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("%q: %d answers, want one 400:\n%s", lengths, n, answer)
		}
		for _, rec := range p.api.Requests() {
			t.Errorf("%q: the API saw %s %s", lengths, rec.Method, rec.Target)
		}
	}
}

// A body that turns out bad after it began must not look whole upstream.
func TestBadBodiesNeverLookWhole(t *testing.T) {
	head := "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Sim: name=%s\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, protocol := range []sim.Protocol{sim.TLS1, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{Proxy: "max_body_mib = 1"})
		for name, c := range map[string]struct{ body, want string }{
			"bad-size":      {"5\r\nhello\r\nzz\r\n", "400"},
			"negative-size": {"5\r\nhello\r\n-5\r\n", "400"},
			"endless-size":  {"5\r\nhello\r\nfffffffffffffffff\r\n", "400"},
			"no-crlf":       {"5\r\nhelloX0\r\n\r\n", "400"},
			"too-large":     {strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 17) + "0\r\n\r\n", "413"},
		} {
			answer := raw(t, p.proxy.Addr, fmt.Sprintf(head, name)+c.body)
			if line, _, _ := strings.Cut(answer, "\r\n"); !strings.HasPrefix(line, "HTTP/1.1 "+c.want) {
				t.Errorf("%s %s: got %q, want %s", protocol, name, line, c.want)
			}
			for _, rec := range p.api.Requests() {
				if rec.Name != name {
					continue
				}
				await(t, name, rec.Ended())
				if rec.BodyErr == nil {
					t.Errorf("%s %s: the API read %d bytes as a whole body", protocol, name, rec.BodyBytes)
				}
			}
		}
	}
}

// An absolute-form target names another host; the request goes to the API all
// the same, and to nobody else.
func TestAbsoluteFormIsNoOpenProxy(t *testing.T) {
	p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{})
	decoy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	visited := make(chan string, 1)
	go func() {
		if conn, err := decoy.Accept(); err == nil {
			visited <- conn.RemoteAddr().String()
			conn.Close()
		}
		close(visited)
	}()
	raw(t, p.proxy.Addr, "GET http://"+decoy.Addr().String()+"/v1/models?a=1 HTTP/1.1\r\nHost: ai\r\nX-Sim: name=absolute\r\nConnection: close\r\n\r\n")
	decoy.Close()
	if from, ok := <-visited; ok {
		t.Errorf("the decoy was dialled from %s", from)
	}
	rec := p.recorded(t, "absolute")
	if rec.Target != "/v1/models?a=1" || rec.Host != p.api.Addr() {
		t.Errorf("the API saw target %q, host %q", rec.Target, rec.Host)
	}
}

func TestUpgradeIsNeverTunnelled(t *testing.T) {
	p := start(t, sim.Options{Protocol: sim.TLS1}, harness.Options{})
	for _, upgrade := range []string{"websocket", "h2c"} {
		answer := raw(t, p.proxy.Addr, "GET /v1/models HTTP/1.1\r\nHost: ai\r\nX-Sim: name="+upgrade+"\r\nConnection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nUpgrade: "+upgrade+"\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: got %.60q", upgrade, answer)
		}
		if rec := p.recorded(t, upgrade); rec.Header.Get("Upgrade")+rec.Header.Get("Http2-Settings")+rec.Header.Get("Connection") != "" {
			t.Errorf("%s: the API saw %v", upgrade, rec.Header)
		}
	}
}

// raw fails the test when the service keeps the connection open.
func TestSlowSendersAreCut(t *testing.T) {
	t.Parallel()
	p := start(t, sim.Options{}, harness.Options{Proxy: "idle_timeout_secs = 0.5"})
	for name, request := range map[string]string{
		"half a head":    "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Slow:",
		"nothing at all": "",
		"half a body":    "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Sim: name=slow\r\nContent-Length: 10\r\n\r\n12345",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := raw(t, p.proxy.Addr, request)
			line, _, _ := strings.Cut(answer, "\r\n")
			t.Logf("cut with %q", line)
			if strings.Contains(line, " 200 ") {
				t.Errorf("answered %q", line)
			}
		})
	}
}

func TestSlowReaderIsCut(t *testing.T) {
	t.Parallel()
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS2} {
		p := start(t, sim.Options{Protocol: protocol}, harness.Options{Proxy: "idle_timeout_secs = 0.5"})
		conn := dialRaw(t, p.proxy.Addr)
		// 200,000 events are more than every buffer on the way.
		if _, err := io.WriteString(conn, "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nX-Sim: name=flood&stream=1&deltas=200000\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		rec := p.recorded(t, "flood")
		await(t, string(protocol)+": the slow reader's cut", rec.Ended())
		if rec.Outcome != sim.Cancelled {
			t.Errorf("%s: the API's side ended as %s", protocol, rec.Outcome)
		}
	}
}
