package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// What one of these says, another reader may take for something else.
var (
	smuggledFields = []string{
		"Content-Length: 5", "Content-Length: 0", "content-length:\t5 ", "Content-Length: 05", "Content-Length: +5", "Content-Length: -5",
		"Content-Length: 0x5", "Content-Length: 5, 5", "Content-Length: 5,", "Content-Length: 5 5", "Content-Length: 5\x00", "Content-Length: \v5",
		"Content-Length: 99999999999999999999", "Content-Length: 18446744073709551621", "Content-Length:", "Content-Length : 5", "Content-Length\t: 5",
		" Content-Length: 5", "\tContent-Length: 5", "Content_Length: 5", "Content-Length: 5;a", "Content-Length: 5e0", "Content-Length: 0_5",
		"Transfer-Encoding: chunked", "transfer-encoding:chunked", "Transfer-Encoding: CHUNKED\t", "Transfer-Encoding: chunked, chunked",
		"Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: xchunked", "Transfer-Encoding: chunkedx", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chunked;a=b",
		"Transfer-Encoding: \vchunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding: chunked,", "Transfer-Encoding: ,chunked", "Transfer-Encoding:",
		"Transfer-Encoding : chunked", "Transfer-Encoding:\r\n chunked", "X: a\r\n Transfer-Encoding: chunked", "X: a\nTransfer-Encoding: chunked",
		"X: a\rTransfer-Encoding: chunked", "\x00Transfer-Encoding: chunked", "Transfer_Encoding: chunked", "Transfer-Encoding: ch\xfcnked",
		"Trailer: Content-Length", "Trailer: X-T", "Trailer: Transfer-Encoding, X-T", "Expect: 100-continue", "Expect: tea",
		"Connection: close", "Connection: keep-alive", "Connection: content-length", "Connection: transfer-encoding, host", "Upgrade: h2c",
		"Host: y", "Host : y", "X-A: b", "X-A:", ": b", "X A: b", "X-A", "Max-Forwards: 3", "Te: trailers", "X-A: \xff\x80",
	}
	smuggledContents = []string{
		"", "hello", "hello", "hell", "hello!", "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "2\r\nhe\r\n3;a=b\r\nllo\r\n00;c\r\n\r\n",
		"5;a=\"\\\";\r\nhello\r\n0\r\n\r\n", "5 ; a = \"b;\"\r\nhello\r\n0\r\n\r\n", "5;\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n",
		"5\rhello\r0\r\r", "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"05\r\nhello\r\n0\r\n\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n", "fffffffffffffffb\r\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
		"6\r\nhello\r\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", "5\r\nhello\r\n0\r\nX-T: 1\r\nHost: z\r\n\r\n",
		"5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n", "5\r\nhello\r\n0\r\nX-T: 1\r\n 2\r\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\r\n\r", "\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\n0\r\n\r\n\r\n", "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n", "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	smuggledLines = []string{
		"POST /%d HTTP/1.1", "POST /%d HTTP/1.1", "POST /%d HTTP/1.1", "GET /%d HTTP/1.1", "HEAD /%d HTTP/1.1", "PUT http://y/%d HTTP/1.1", "POST /%d HTTP/1.0",
		"POST /%d HTTP/1.2", "POST /%d HTTP/0.9", "POST  /%d HTTP/1.1", "POST /%d  HTTP/1.1", "POST /%d", "POST\t/%d HTTP/1.1", "POST /%d HTTP/1.1 ",
		"\r\nPOST /%d HTTP/1.1", "\nPOST /%d HTTP/1.1", "post /%d http/1.1", "P\x00ST /%d HTTP/1.1", "POST /%d HTTP/1.1\r\n ", "OPTIONS /%d HTTP/1.1",
	}
	smuggledEnds = []string{"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n", "\x00\r\n"}
)

// plainRequests are what they seem.
var plainRequests = []string{
	"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	"POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n",
}

// smuggled is a stream of a few requests, some of them not what they seem.
func smuggled(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 11))
	one := func(of []string) string { return of[r.IntN(len(of))] }
	now := func(often int, odd []string, usual string) string {
		if r.IntN(often) == 0 {
			return one(odd)
		}
		return usual
	}
	var b bytes.Buffer
	for i := range 1 + r.IntN(4) {
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, one(plainRequests), i)
			continue
		}
		end := func() string { return now(20, smuggledEnds, "\r\n") }
		fmt.Fprintf(&b, now(4, smuggledLines, "POST /%d HTTP/1.1"), i)
		b.WriteString(end() + "Host: x" + end())
		framing, content := "Content-Length: 5", "hello"
		if r.IntN(2) == 0 {
			framing, content = "Transfer-Encoding: chunked", now(2, smuggledContents, "5\r\nhello\r\n0\r\n\r\n")
		}
		b.WriteString(now(3, smuggledFields, framing) + end())
		for range r.IntN(3) {
			b.WriteString(one(smuggledFields) + end())
		}
		b.WriteString("\r\n" + now(6, smuggledContents, content))
	}
	return append(b.Bytes(), lastRequest...)
}

const lastRequest = "POST /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

// shapes are streams in each of which one thing is odd.
func shapes() (all [][]byte) {
	add := func(line, field, framing, content string) {
		all = append(all, fmt.Appendf(nil, line+"\r\nHost: x\r\n"+field+framing+"\r\n\r\n%s"+lastRequest, 0, content))
	}
	const line, length, chunks, chunked = "POST /%d HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"
	for _, f := range smuggledFields {
		add(line, f+"\r\n", length, "hello")
		add(line, f+"\r\n", chunks, chunked)
		add(line, f, "", "hello")
		add(line, f, "", chunked)
	}
	for _, c := range smuggledContents {
		add(line, "", chunks, c)
	}
	for _, l := range smuggledLines {
		add(l, "", chunks, chunked)
	}
	return all
}

// FuzzSmuggling sends a stream of bytes through the whole proxy and looks at what
// the API's socket got. It is requests, with nothing before, between or behind
// them, in one reading and in another; they are those that we answered in the
// API's name; they are those that stand in the stream, and what a lenient proxy
// made of the same stream begins with the same.
func FuzzSmuggling(f *testing.F) {
	for _, s := range shapes() {
		f.Add(s)
	}
	for seed := range uint64(60) {
		f.Add(smuggled(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 16<<10 {
			return
		}
		var ours, theirs heard
		synctest.Test(t, func(t *testing.T) {
			a := newTape()
			o := piped(t, a.play)
			o.places = 10
			ours = overhear(t, a, newRig(t, o).reach, stream)
		})
		synctest.Test(t, func(t *testing.T) {
			a := newTape()
			theirs = overhear(t, a, lenient(t, piped(t, a.play)), stream)
		})
		arrived := ours.check(t)
		if said, _ := hearing(string(stream)); !isPartOf(arrived, said) {
			t.Errorf("of %q\nthe API got %q", said, arrived)
		}
		same, _ := readings(theirs.record)
		for i := range min(len(same), len(arrived)) {
			if same[i].target != arrived[i].target {
				break // one of the two refused something
			}
			if same[i] != arrived[i] {
				t.Errorf("request %d is %q, by way of a lenient proxy %q", i, arrived[i], same[i])
			}
		}
		if t.Failed() {
			t.Errorf("the stream was %q,\nthe answers %q,\nthe record %q", stream, ours.answers, ours.record)
		}
	})
}

// heard is what both ends of a proxy got.
type heard struct {
	answers string   // the client's side
	closed  bool     // which the proxy closed
	record  []string // the API's, by connection
}

// lingered is when a connection is closed that somebody still sends on, and before
// the clocks of what is under way.
const lingered = 5 * time.Second

// overhear sends a stream in a bubble of time and waits until nothing moves.
func overhear(t *testing.T, a *tape, reach func() (net.Conn, error), stream []byte) heard {
	c, err := reach()
	if err != nil {
		t.Fatal(err)
	}
	var h heard
	read := make(chan struct{})
	go func() { _, _ = c.Write(stream) }()
	go func() {
		defer close(read)
		all, _ := io.ReadAll(c)
		h.answers = string(all)
	}()
	time.Sleep(lingered)
	synctest.Wait()
	select {
	case <-read:
		h.closed = true
	default:
	}
	_ = c.Close()
	<-read
	synctest.Wait()
	h.record = a.take()
	return h
}

var tapeNumber = regexp.MustCompile(`X-Tape: (\d+)\r\n`)

// check holds the record against itself and the answers, and returns the requests
// in it.
func (h heard) check(t *testing.T) []spoken {
	t.Helper()
	var arrived []spoken
	for _, record := range h.record {
		all, rest := hearing(record)
		if strings.HasPrefix(record, "\r") || strings.HasPrefix(rest, "\r") {
			t.Errorf("something stands between the requests")
		}
		arrived = append(arrived, all...)
	}
	other, err := readings(h.record)
	if err != nil {
		t.Errorf("net/http cannot read the record: %v", err)
	}
	if !slices.Equal(arrived, other) {
		t.Errorf("the API got %q, by net/http's reading %q", arrived, other)
	}
	numbers := tapeNumber.FindAllStringSubmatch(h.answers, -1)
	for i, n := range numbers {
		if n[1] != strconv.Itoa(i+1) {
			t.Errorf("answer %d is the API's %s", i+1, n[1])
		}
	}
	if len(numbers) != len(arrived) {
		t.Errorf("%d requests were answered, the API got %d", len(numbers), len(arrived))
	}
	return arrived
}

// readings are the whole requests of a record as net/http reads them; the last one
// of a connection may have been broken off.
func readings(record []string) (all []spoken, err error) {
	for _, r := range record {
		br := bufio.NewReader(strings.NewReader(r))
		for {
			req, err := http.ReadRequest(br)
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return all, err
			}
			content, err := io.ReadAll(req.Body)
			if err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return all, err
			}
			all = append(all, spoken{req.Method, req.RequestURI, string(content)})
		}
	}
	return all, nil
}

// isPartOf reports whether the requests stand in others, in their order.
func isPartOf(some, of []spoken) bool {
	for _, r := range of {
		if len(some) > 0 && r.method == some[0].method && r.content == some[0].content && (r.target == some[0].target || r.target[0] != '/') {
			some = some[1:]
		}
	}
	return len(some) == 0
}

// lenient is the standard library's proxy behind its server, which reads what
// ours refuses.
func lenient(t *testing.T, o options) (reach func() (net.Conn, error)) {
	quiet := log.New(io.Discard, "", 0)
	tr := &http.Transport{DialContext: o.engine.Dial, DisableCompression: true, ExpectContinueTimeout: patience}
	s := &http.Server{ErrorLog: quiet, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(o.api) }, Transport: tr, ErrorLog: quiet,
	}}
	ln := testkit.NewPipes()
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Close()
		tr.CloseIdleConnections()
	})
	return ln.Dial
}

// The same over sockets, where the kernel cuts the stream into pieces and the
// poller says who left.
func TestSmugglingOverSockets(t *testing.T) {
	a := newTape()
	r := newRig(t, options{api: scripted(t, a.play)})
	played := 0
	for seed := range uint64(80) {
		stream := smuggled(1000 + seed)
		var want heard
		synctest.Test(t, func(t *testing.T) {
			a := newTape()
			o := piped(t, a.play)
			o.places = 10
			want = overhear(t, a, newRig(t, o).reach, stream)
		})
		if !want.closed {
			continue // it wants more, and would wait for it
		}
		played++
		c := r.dial()
		go func() { _, _ = c.Write(stream) }()
		all, _ := io.ReadAll(c)
		got := statusLine.FindAllString(string(all), -1)
		if expected := statusLine.FindAllString(want.answers, -1); !slices.Equal(got, expected) {
			t.Errorf("%q:\ngot %q, want %q", stream, got, expected)
		}
		_ = c.Close()
	}
	if played < 40 {
		t.Errorf("only %d streams were played", played)
	}
	if arrived, err := readings(a.take()); err != nil || len(arrived) != a.answered {
		t.Errorf("the API got %d requests and answered %d: %v", len(arrived), a.answered, err)
	}
}

var statusLine = regexp.MustCompile(`HTTP/1\.[01] \d{3}`)
