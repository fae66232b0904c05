package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
)

// The engine reads an answer as net/http would.
func FuzzHTTP1Answer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nfine",
		"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
		"HTTP/1.1 000 X\r\n\r\n", "HTTP/1.1 101 S\r\n\r\n", "garbage", "",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		var all sync.WaitGroup
		p := New(&url.URL{Scheme: "http", Host: "api.test"}, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			all.Go(func() {
				defer theirs.Close()
				if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
					_, _ = theirs.Write(answer)
				}
			})
			return ours, nil
		}})
		defer all.Wait()
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		wantStatus, wantBody, wantErr := oracle(method, answer)
		res, err := p.RoundTrip(ctx, &Request{Method: method, Target: "/"})
		if ctx.Err() != nil {
			t.Fatalf("%q: it hangs", answer)
		}
		if err != nil {
			if wantStatus != 0 {
				t.Errorf("%q: %v, net/http reads status %d", answer, err, wantStatus)
			}
			return
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.Status != wantStatus || !bytes.Equal(body, wantBody) || (err == nil) != (wantErr == nil) {
			t.Errorf("%q: got %d %q %v, net/http reads %d %q %v", answer, res.Status, body, err, wantStatus, wantBody, wantErr)
		}
	})
}

// oracle is net/http's reading; a status of 0 means that there is no answer.
func oracle(method string, answer []byte) (status int, body []byte, err error) {
	br := bufio.NewReader(bytes.NewReader(answer))
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil || res.StatusCode < 100 || res.StatusCode == http.StatusSwitchingProtocols {
			return 0, nil, err
		}
		if res.StatusCode >= 200 {
			body, err := io.ReadAll(res.Body)
			return res.StatusCode, body, err
		}
	}
}
