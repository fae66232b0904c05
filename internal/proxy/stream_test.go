package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"anthropic-oauth-proxy/internal/testkit"
)

// A stream that dies after its head breaks, wherever it stands: nothing of ours
// is added, and it never ends cleanly halfway.
func TestAStreamThatDies(t *testing.T) {
	const event, crlf = "data: x\n\n", "data: x\r\n\r\n"
	for _, tc := range []struct {
		name, fields, sent string
	}{
		{"between events", "Content-Type: text/event-stream\r\n", event},
		{"between events, with a charset", "Content-Type: Text/Event-Stream; charset=utf-8\r\n", event},
		{"between events, CRLF", "Content-Type: text/event-stream\r\n", crlf},
		{"before the first event", "Content-Type: text/event-stream\r\n", ""},
		{"in a line", "Content-Type: text/event-stream\r\n", event + "data: half"},
		{"after a line", "Content-Type: text/event-stream\r\n", event + "data: half\n"},
		{"after a CRLF line", "Content-Type: text/event-stream\r\n", crlf + "data: half\r\n"},
		{"compressed", "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", event},
		{"JSON", "Content-Type: application/json\r\n", event},
		{"no type", "", event},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := scripted(t, func(_ int, c net.Conn) {
				if _, err := readHead(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n", tc.fields)
				if tc.sent != "" {
					_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(tc.sent), tc.sent)
				}
			})
			r := newRig(t, options{api: api})
			for _, http1 := range []bool{true, false} {
				res, err := r.client(http1).Get(r.url("/v1/messages"))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				rec := r.record()
				if err == nil || string(body) != tc.sent {
					t.Errorf("http1=%v: got %q, %v; want %q and a broken stream", http1, body, err, tc.sent)
				}
				if rec.Outcome != "upstream_cut" || rec.ErrorType != "upstream_cut" || rec.Status != 200 {
					t.Errorf("http1=%v: record %+v", http1, rec)
				}
			}
		})
	}
}

// Answers that lie about their length, or whose framing breaks, never look
// whole.
func TestTruncatedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"short of its length":     "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n",
		"chunk without its end":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\ndata",
		"chunk without a length":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\nzz\r\nCANARY\r\n",
		"no last chunk":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n",
		"half of the last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n",
		"garbage after its chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndataCANARY",
	} {
		t.Run(name, func(t *testing.T) {
			api := scripted(t, func(_ int, c net.Conn) {
				_, _ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
			})
			r := newRig(t, options{api: api})
			res, err := r.http1().Get(r.url("/"))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if rec := r.record(); err == nil || rec.Outcome != "upstream_cut" {
				t.Errorf("error %v, outcome %s; want a broken answer, upstream_cut", err, rec.Outcome)
			}
			if strings.Contains(r.journal.String(), "CANARY") {
				t.Error("the API's bytes are in the log")
			}
		})
	}
}

// Answers that are none become a clean 502, and not a byte of them a log line.
func TestMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"garbage":             "CANARY\r\n\r\n",
		"another protocol":    "SSH-2.0-CANARY\r\n",
		"binary":              "\x00\x01\x02CANARY",
		"nothing":             "",
		"status 000":          "HTTP/1.1 000 CANARY\r\n\r\n",
		"status 99":           "HTTP/1.1 099 CANARY\r\n\r\n",
		"status 1000":         "HTTP/1.1 1000 CANARY\r\n\r\n",
		"negative status":     "HTTP/1.1 -20 CANARY\r\n\r\n",
		"no status":           "HTTP/1.1 CANARY\r\n\r\n",
		"bad field":           "HTTP/1.1 200 OK\r\nCANARY\r\n\r\n",
		"folded field":        "HTTP/1.1 200 OK\r\n CANARY: x\r\n\r\n",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\nX: CANARY\r\n\r\nab",
		"negative length":     "HTTP/1.1 200 OK\r\nContent-Length: -1\r\nX: CANARY\r\n\r\n",
		"length that is none": "HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n",
		"unknown coding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n",
		"huge head":           "HTTP/1.1 200 OK\r\nX-CANARY: " + strings.Repeat("x", 300<<10) + "\r\n\r\n",
		"endless head":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-CANARY: y\r\n", 60<<10),
		"unasked switch":      "HTTP/1.1 101 CANARY\r\nUpgrade: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			api := scripted(t, func(_ int, c net.Conn) {
				_, _ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
			})
			r := newRig(t, options{api: api})
			for _, method := range []string{"POST", "GET"} {
				c := r.dial()
				c.send("%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method)
				res, body := c.answer(method)
				rec := r.record()
				if res.StatusCode != 502 || !strings.Contains(body, `"type":"api_error"`) || strings.Contains(body, "CANARY") || rec.Outcome != "upstream_error" {
					t.Errorf("%s: status %d %q, record %+v; want 502 api_error", method, res.StatusCode, body, rec)
				}
			}
			if strings.Contains(r.journal.String(), "CANARY") {
				t.Error("the API's bytes are in the log")
			}
		})
	}
}

func TestMalformedHTTP2Answers(t *testing.T) {
	for name, do := range map[string]func(p *testkit.Peer, id uint32){
		"no status":        func(p *testkit.Peer, id uint32) { p.Head(id, true, "x", "CANARY") },
		"status 0":         func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "0", "x", "CANARY") },
		"status 99999":     func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "99999") },
		"text status":      func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "CANARY") },
		"101":              func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "101") },
		"103 that ends":    func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "103") },
		"upper-case field": func(p *testkit.Peer, id uint32) { p.Head(id, true, ":status", "200", "X-CANARY", "x") },
		"data first":       func(p *testkit.Peer, id uint32) { _ = p.WriteData(id, true, []byte("CANARY")) },
		"huge head":        func(p *testkit.Peer, id uint32) { hugeHead(p, id, strings.Repeat("CANARY", 60<<10)) },
		"wrong stream":     func(p *testkit.Peer, _ uint32) { p.Head(2, true, ":status", "200") },
		"unopened stream":  func(p *testkit.Peer, _ uint32) { p.Head(99, true, ":status", "200") },
		"push": func(p *testkit.Peer, id uint32) {
			_ = p.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true})
		},
		"raw garbage": func(p *testkit.Peer, _ uint32) { _, _ = io.WriteString(p.Conn, "HTTP/1.1 200 CANARY\r\n\r\n") },
		"huge frame":  func(p *testkit.Peer, id uint32) { _ = p.WriteRawFrame(0, 0, id, make([]byte, 1<<20)) },
		"bad hpack":   func(p *testkit.Peer, id uint32) { _ = p.WriteRawFrame(1, 5, id, []byte{0xff, 0xff, 0xff, 0xff, 0xff}) },
	} {
		t.Run(name, func(t *testing.T) {
			var seen tally
			o := h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) { do(p, req.ID) })
			o.limits.HeaderTimeout = patience / 4
			r := newRig(t, o)
			c := r.dial()
			c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
			res, body := c.answer("POST")
			if res.StatusCode != 502 || !strings.Contains(body, "api_error") || strings.Contains(body+r.journal.String(), "CANARY") {
				t.Errorf("status %d %q, log %s; want 502", res.StatusCode, body, r.journal)
			}
		})
	}
}

// hugeHead sends a head in many frames.
func hugeHead(p *testkit.Peer, id uint32, value string) {
	block := testkit.HeaderBlock(":status", "200", "x", value)
	const frame = 16 << 10
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:frame]})
	for block = block[frame:]; len(block) > 0; block = block[min(frame, len(block)):] {
		_ = p.WriteContinuation(id, len(block) <= frame, block[:min(frame, len(block))])
	}
}

func TestTruncatedHTTP2Answers(t *testing.T) {
	for name, do := range map[string]func(p *testkit.Peer, id uint32){
		"reset":                 func(p *testkit.Peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeInternal) },
		"reset without a fault": func(p *testkit.Peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeNo) },
		"connection closed":     func(p *testkit.Peer, _ uint32) { _ = p.Conn.Close() },
		"goaway and closed": func(p *testkit.Peer, id uint32) {
			_ = p.WriteGoAway(id, http2.ErrCodeNo, []byte("CANARY"))
			_ = p.Conn.Close()
		},
		"ended short": func(p *testkit.Peer, id uint32) { _ = p.WriteData(id, true, nil) },
		"too long":    func(p *testkit.Peer, id uint32) { _ = p.WriteData(id, true, bytes.Repeat([]byte("x"), 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			var seen tally
			r := newRig(t, h2plays(t, &seen, func(_ int, p *testkit.Peer, req testkit.PeerRequest) {
				p.Head(req.ID, false, ":status", "200", "content-length", "50")
				_ = p.WriteData(req.ID, false, []byte("data"))
				do(p, req.ID)
			}))
			res, err := r.http1().Get(r.url("/"))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if rec := r.record(); err == nil || rec.Outcome != "upstream_cut" || strings.Contains(r.journal.String(), "CANARY") {
				t.Errorf("error %v, record %+v; want a broken answer, upstream_cut", err, rec)
			}
		})
	}
}
