package edge

import (
	"io"
	"strings"
	"sync"
	"testing"
)

// Each request is refused for the section's sake: with one answer, at once,
// though its sender keeps the connection open, and nothing behind it is read.
func TestMalformedHeads(t *testing.T) {
	const good = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	host := func(lines string) string { return "POST / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n\r\n" }
	for _, tc := range []struct {
		section, name, sent string
		want                *Refusal
	}{
		{"9112 2.2", "bare LF", "GET / HTTP/1.1\nHost: x\n\n", badLineEnd},
		{"9112 2.2", "bare LF behind a field", "GET / HTTP/1.1\r\nHost: x\n\r\n", badLineEnd},
		{"9112 2.2", "short garbage", "GET /x\n\n", badLineEnd},
		{"9112 2.2", "an empty line of LF alone", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", badLineEnd},
		{"9112 2.2", "CR without LF in front", "\rGET / HTTP/1.1\r\n", badLine},
		{"9112 2.2", "bare CR in the request line", "GET /\rx HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 2.2", "bare CR in a value", host("X-A: a\rX-B: b"), badField},
		{"9112 2.2", "white space before the first field", "GET / HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n", badFold},
		{"9112 3", "no version", "GET /\r\n\r\n", badLine},
		{"9112 3", "two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3", "a tab", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3", "a space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", badLine},
		{"9112 3", "a space in front", " GET / HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3", "not HTTP at all", "\x16\x03\x01\x02\x00", badLine},
		{"9112 3", "an answer", "HTTP/1.1 200 OK\r\n\r\n", badLine},
		{"9112 3.1", "a method that is no token", "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3.2", "a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3.2", "NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 3.2", "no host", "GET / HTTP/1.1\r\n\r\n", badHost},
		{"9112 3.2", "two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", badHost},
		{"9112 3.2", "two hosts of HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", badHost},
		{"9112 3.2", "an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", badHost},
		{"9112 3.2", "a list of hosts", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", badHost},
		{"9112 3.2", "a host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", badHost},
		{"9112 3.2", "a host with a user", "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", badHost},
		{"9112 2.3", "a lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n", badLine},
		{"9112 2.3", "a version of two digits", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", badLine},
		{"9112 2.3", "HTTP/2 in a line", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", unknownVersion},
		{"9112 2.3", "HTTP/0.9 with a version", "GET / HTTP/0.9\r\n\r\n", unknownVersion},
		{"9112 5", "a line without a colon", host("X-A"), badField},
		{"9112 5", "no name", host(": a"), badField},
		{"9112 5.1", "a space before the colon", host("X-A : a"), badField},
		{"9112 5.1", "a space in the length's name", host("Content-Length : 5"), badField},
		{"9110 5.1", "a name that is no token", host("X(A: a"), badField},
		{"9110 5.1", "a name of UTF-8", host("X-ü: a"), badField},
		{"9110 5.5", "NUL in a value", host("X-A: a\x00b"), badField},
		{"9110 5.5", "DEL in a value", host("X-A: a\x7f"), badField},
		{"9110 5.5", "a vertical tab around chunked", host("Transfer-Encoding: \vchunked"), badField},
		{"9112 5.2", "obs-fold", host("X-A: a\r\n b"), badFold},
		{"9112 5.2", "obs-fold with a tab", host("Transfer-Encoding: chunked\r\n\t, identity"), badFold},
		{"9112 6.1", "both lengths", host("Content-Length: 5\r\nTransfer-Encoding: chunked"), twoLengths},
		{"9112 6.1", "both lengths, the other way round", host("transfer-encoding: chunked\r\ncontent-length: 5"), twoLengths},
		{"9112 6.1", "both lengths, of nothing", host("Content-Length: 0\r\nTransfer-Encoding: chunked"), twoLengths},
		{"9112 6.1", "both lengths, an unknown coding", host("Content-Length: 5\r\nTransfer-Encoding: x"), twoLengths},
		{"9112 6.1", "both lengths to a page of ours", "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", twoLengths},
		{"9112 6.1", "chunked of HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", badCoding},
		{"9112 6.1", "chunked twice", host("Transfer-Encoding: chunked, chunked"), badCoding},
		{"9112 6.1", "chunked twice, on two lines", host("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), badCoding},
		{"9112 6.3", "chunked that is not last", host("Transfer-Encoding: chunked, gzip"), badCoding},
		{"9112 6.3", "identity", host("Transfer-Encoding: identity"), badCoding},
		{"9112 6.3", "nearly chunked", host("Transfer-Encoding: xchunked"), badCoding},
		{"9112 6.3", "chunked in quotes", host("Transfer-Encoding: \"chunked\""), badCoding},
		{"9112 6.3", "an empty coding", host("Transfer-Encoding:"), badCoding},
		{"9110 5.6.1", "an empty member behind a coding", host("Transfer-Encoding: chunked,"), badCoding},
		{"9110 5.6.1", "an empty member in front of a coding", host("Transfer-Encoding: , chunked"), badCoding},
		{"9112 6.3", "chunked with a parameter", host("Transfer-Encoding: chunked;a=b"), badCoding},
		{"9112 6.1", "an unknown coding", host("Transfer-Encoding: gzip, chunked"), unknownCoding},
		{"9112 6.3", "two different lengths", host("Content-Length: 5\r\nContent-Length: 6"), badLength},
		{"9110 8.6", "the same length twice", host("Content-Length: 5\r\nContent-Length: 5"), badLength},
		{"9110 8.6", "a list of lengths", host("Content-Length: 5, 5"), badLength},
		{"9112 6.3", "a signed length", host("Content-Length: +5"), badLength},
		{"9112 6.3", "a negative length", host("Content-Length: -5"), badLength},
		{"9112 6.3", "a hexadecimal length", host("Content-Length: 0x5"), badLength},
		{"9112 6.3", "a length of letters", host("Content-Length: five"), badLength},
		{"9112 6.3", "an empty length", host("Content-Length:"), badLength},
		{"9112 6.3", "a length with a space", host("Content-Length: 1 2"), badLength},
		{"9110 8.6", "a length that overflows", host("Content-Length: 99999999999999999999"), badLength},
		{"9110 10.1.1", "an unknown expectation", host("Expect: tea"), unknownExpectation},
		{"9110 6.5.1", "a trailer that frames", host("Transfer-Encoding: chunked\r\nTrailer: Content-Length"), badTrailer},
		{"9110 6.5.1", "a trailer that frames, too", host("Transfer-Encoding: chunked\r\nTrailer: X, transfer-encoding"), badTrailer},
		{"9112 3", "a target of 70 KiB", "GET /" + strings.Repeat("a", 70<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", longTarget},
		{"9110 5.4", "a field of 70 KiB", host("X-A: " + strings.Repeat("a", 70<<10)), longHead},
		{"9110 5.4", "fields of 70 KiB", host(strings.Repeat("X-A: "+strings.Repeat("a", 60)+"\r\n", 1100) + "X: y"), longHead},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			served := make(chan string, 16)
			d := openDoor(t, New(handlerFunc(func(c Client) {
				if r := c.Request().Refusal; r != tc.want {
					t.Errorf("refused as %+v, want %+v", r, tc.want)
				}
				served <- c.Request().Target
				say(c, "")
			}), Options{}))
			c := d.dial()
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.WriteString(c, tc.sent) }) // may not all be taken
			res, body, err := c.answer("POST")
			if err != nil || res.StatusCode != tc.want.Status || body != tc.want.Reason || !res.Close {
				t.Fatalf("got %v %q, %v; want %d and a close", res, body, err, tc.want.Status)
			}
			sending.Wait()
			_, _ = io.WriteString(c, "0\r\n\r\n"+good+good)
			_ = c.CloseWrite()
			if rest, _ := c.rest(); rest != "" || len(served) != 1 {
				t.Errorf("%d requests were served; behind the refusal stands %q", len(served), rest)
			}
		})
	}
}

// What looks odd and is right is served.
func TestHeadsThatAreRight(t *testing.T) {
	for _, tc := range []struct{ section, name, sent string }{
		{"9112 2.2", "empty lines in front", "\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"9110 2.5", "a higher minor version", "GET /x HTTP/1.7\r\nHost: x\r\n\r\n"},
		{"9112 3", "a target of 8,000 octets", "GET /x?" + strings.Repeat("a", 8000) + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"9112 3.2", "HTTP/1.0 without a host", "GET /x HTTP/1.0\r\n\r\n"},
		{"9112 3.2", "a host of IPv6", "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"},
		{"9110 9.1", "an unknown method", "x-FETCH /x HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"9112 5", "an empty value", "GET /x HTTP/1.1\r\nHost: x\r\nX-A:\r\n\r\n"},
		{"9110 5.5", "obs-text in a value", "GET /x HTTP/1.1\r\nHost: x\r\nX-A: \xfc\r\n\r\n"},
		{"9112 7.1.1", "extensions of chunks", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2 ; a ; b = c;d=\"\\\"; \"\r\n{}\r\n00;e\r\n\r\n"},
		{"9110 5.6.3", "bad white space of an extension", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\t;\ta\t= \tb\r\n{}\r\n0\r\n\r\n"},
		{"9110 5.6.4", "a quoted pair", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"\\\"\\\\;\"\r\n{}\r\n0\r\n\r\n"},
		{"9110 5.6.1", "empty members of a list", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: , X-A,,\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{"9112 7.1.2", "trailers that nobody announced", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\nX-T: a\r\n\r\n"},
		{"9110 10.1.1", "an expectation in capitals", "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n{}"},
		{"9110 7.8", "an upgrade", "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"},
		{"9112 9.3", "a close", "GET /x HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n"},
	} {
		t.Run(tc.section+" "+tc.name, func(t *testing.T) {
			d := openDoor(t, New(handlerFunc(echo), Options{}))
			c := d.dial()
			c.send(tc.sent)
			res, body, err := c.answer("POST")
			if err == nil && res.StatusCode == 100 {
				res, body, err = c.answer("POST")
			}
			if err != nil || res.StatusCode != 200 || !strings.Contains(body, " /x") || strings.Contains(body, "error") {
				t.Fatalf("got %v %.200q, %v", res, body, err)
			}
			if res.Close != (strings.Contains(tc.sent, "Close") || strings.Contains(tc.sent, "HTTP/1.0")) {
				t.Errorf("close: %v", res.Close)
			}
		})
	}
}

// Bodies whose framing two readers could read in two ways (9112 7.1, 9112 7.1.1, 9112 7.1.2, 9112 5.2).
func TestMalformedBodies(t *testing.T) {
	for name, body := range map[string]string{
		"no size":                     "\r\nbody\r\n0\r\n\r\n",
		"no number":                   "zz\r\nbody\r\n0\r\n\r\n",
		"negative":                    "-4\r\nbody\r\n0\r\n\r\n",
		"signed":                      "+4\r\nbody\r\n0\r\n\r\n",
		"hexadecimal with a prefix":   "0x4\r\nbody\r\n0\r\n\r\n",
		"a space in front":            " 4\r\nbody\r\n0\r\n\r\n",
		"an underscore":               "0_4\r\nbody\r\n0\r\n\r\n",
		"overflow":                    "fffffffffffffffff\r\nbody\r\n0\r\n\r\n",
		"overflow to a small one":     "10000000000000004\r\nbody\r\n0\r\n\r\n",
		"bare LF":                     "4\nbody\r\n0\r\n\r\n",
		"bare CR":                     "4\rbody\r\n0\r\n\r\n",
		"bare LF behind the data":     "4\r\nbody\n0\r\n\r\n",
		"data too long":               "3\r\nbody\r\n0\r\n\r\n",
		"an extension without a name": "4;\r\nbody\r\n0\r\n\r\n",
		"an extension with a bare LF": "4;a\nb\r\nbody\r\n0\r\n\r\n",
		"an extension with a bare CR": "4;a\rb\r\nbody\r\n0\r\n\r\n",
		"an extension with a NUL":     "4;a=\x00\r\nbody\r\n0\r\n\r\n",
		"an extension with no value":  "4;a=\r\nbody\r\n0\r\n\r\n",
		"an open quote":               "4;a=\"b\r\nbody\r\n0\r\n\r\n",
		"a word behind the size":      "4 a\r\nbody\r\n0\r\n\r\n",
		"a long extension":            "4;a=" + strings.Repeat("b", 5000) + "\r\nbody\r\n0\r\n\r\n",
		"long extensions in sum":      strings.Repeat("1;a="+strings.Repeat("b", 2000)+"\r\nb\r\n", 10) + "0\r\n\r\n",
		"a trailer without a colon":   "4\r\nbody\r\n0\r\nno colon\r\n\r\n",
		"a trailer that is folded":    "4\r\nbody\r\n0\r\nX: a\r\n b\r\n\r\n",
		"a trailer with a bare LF":    "4\r\nbody\r\n0\r\nX: a\n\r\n",
		"trailers without end":        "0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 70) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, New(handlerFunc(echo), Options{}))
			c := d.dial()
			var sending sync.WaitGroup
			sending.Go(func() {
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
				_, _ = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
			})
			res, got, err := c.answer("POST")
			if err != nil || got != "error: "+ErrMalformed.Error() || !res.Close {
				t.Fatalf("got %v %q, %v", res, got, err)
			}
			sending.Wait()
			_ = c.CloseWrite()
			if rest, _ := c.rest(); rest != "" {
				t.Errorf("behind it stands %q", rest)
			}
		})
	}
}

// A head comes in whatever pieces.
func TestHeadsInPieces(t *testing.T) {
	d := openDoor(t, New(handlerFunc(echo), Options{}))
	const request = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n"
	c := d.dial()
	_ = c.SetNoDelay(true)
	for size := 1; size < len(request); size += 7 {
		for at := 0; at < len(request); at += size {
			c.send(request[at:min(at+size, len(request))])
		}
		if _, body, err := c.answer("POST"); err != nil || body != `POST /a 1 -1 "{}"` {
			t.Fatalf("pieces of %d: %q, %v", size, body, err)
		}
	}
}
