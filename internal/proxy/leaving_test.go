package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// Who leaves the line is forgotten, and nothing of it goes upstream, however its
// body is framed and whatever memory there is.
func TestWhoLeavesTheLineIsForgotten(t *testing.T) {
	chunked := func(size int, rest string) string {
		var b strings.Builder
		for ; size > 0; size -= 16 << 10 {
			n := min(size, 16<<10)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, strings.Repeat("b", n))
		}
		return b.String() + rest
	}
	const end = "0\r\n\r\n"
	for _, tc := range []struct{ name, fields, body string }{
		{"nothing", "Content-Length: 0\r\n", ""},
		{"100 bytes", "Content-Length: 100\r\n", strings.Repeat("b", 100)},
		{"200 KiB", "Content-Length: 204800\r\n", strings.Repeat("b", 204800)},
		{"1 MB", "Content-Length: 1000000\r\n", strings.Repeat("b", 1000000)},
		{"5 MB", "Content-Length: 5000000\r\n", strings.Repeat("b", 5000000)},
		{"5 MB, half sent", "Content-Length: 5000000\r\n", strings.Repeat("b", 2500000)},
		{"8 MiB", "Content-Length: 8388608\r\n", strings.Repeat("b", 8<<20)},
		{"chunked, 1 MB", "Transfer-Encoding: chunked\r\n", chunked(1000000, end)},
		{"chunked, 3 MB", "Transfer-Encoding: chunked\r\n", chunked(3000000, end)},
		{"chunked, without its end", "Transfer-Encoding: chunked\r\n", chunked(1000000, "")},
		{"chunked with a trailer", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", chunked(1000000, "0\r\nX-Sum: 1\r\n\r\n")},
		{"with an expectation, unsent", "Expect: 100-continue\r\nContent-Length: 1000000\r\n", ""},
		{"with an expectation, not waiting", "Expect: 100-continue\r\nContent-Length: 5000000\r\n", strings.Repeat("b", 5000000)},
		{"with an expectation, chunked", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", chunked(3000000, end)},
	} {
		for _, spent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/budget spent=%v", tc.name, spent), func(t *testing.T) {
				api := newHeld()
				o := served(t, "plain", api.serve)
				o.places, o.queue = 1, patience
				r := newRig(t, o)
				first := r.dial()
				first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
				testkit.Eventually(t, "the first is in", func() bool { return api.seen() == "/first" })
				if spent {
					if !r.handler.replay.take(replayBudget) {
						t.Fatal("the budget is not whole")
					}
					defer r.handler.replay.give(replayBudget)
				}
				leaves := r.dial()
				_ = leaves.Conn.(*net.TCPConn).SetWriteBuffer(8 << 20)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = io.WriteString(leaves, "POST /leaves HTTP/1.1\r\nHost: x\r\n"+tc.fields+"\r\n"+tc.body)
					_ = leaves.Close()
				}()
				testkit.Eventually(t, "it waits, or is forgotten already", func() bool {
					return r.handler.Gate.Load().Waiting == 1 || strings.Contains(r.journal.String(), "client_gone")
				})
				select {
				case <-sent: // its kernel has it all
				case <-time.After(patience / 40): // it takes no more: the client leaves in the middle
					_ = leaves.Close()
					<-sent
				}
				close(api.free)
				first.answer("GET")
				testkit.Eventually(t, "it is forgotten", func() bool { return r.handler.Gate.Load().Left() == 0 })
				if got := api.seen(); got != "/first" {
					t.Errorf("the API saw %q", got)
				}
				outcomes := map[string]int{}
				for range 2 {
					outcomes[r.record().Outcome]++
				}
				if outcomes["client_gone"] != 1 || outcomes["completed"] != 1 {
					t.Errorf("outcomes %v", outcomes)
				}
			})
		}
	}
}

// Who waited in line and stayed is served, byte for byte, whatever the framing
// and however little memory there is; who waits for a permission gets ours
// (9110 10.1.1).
func TestWhoWaitsInLineIsServedWhole(t *testing.T) {
	for _, size := range []int{100, 1 << 20, 8 << 20, 9 << 20} {
		for _, declared := range []bool{true, false} {
			for _, expect := range []bool{true, false} {
				for _, spent := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d bytes/declared=%v/expect=%v/spent=%v", size, declared, expect, spent), func(t *testing.T) {
						body := make([]byte, size)
						for i := range body {
							body[i] = byte(i >> 8 * i)
						}
						free := make(chan struct{})
						begun := make(chan struct{}, 1)
						var got []byte
						o := served(t, "plain", func(_ http.ResponseWriter, req *http.Request) {
							if req.URL.Path == "/first" {
								begun <- struct{}{}
								<-free
								return
							}
							got, _ = io.ReadAll(req.Body)
						})
						o.places, o.queue = 1, patience
						r := newRig(t, o)
						first := r.dial()
						first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
						<-begun
						if spent {
							r.handler.replay.take(replayBudget)
							defer r.handler.replay.give(replayBudget)
						}
						var all sync.WaitGroup
						all.Go(func() {
							var reader io.Reader = bytes.NewReader(body)
							if !declared {
								reader = io.MultiReader(reader)
							}
							req, _ := http.NewRequest("POST", r.url("/second"), reader)
							if expect {
								req.Header.Set("Expect", "100-continue")
							}
							res, err := r.http1().Do(req)
							if err != nil {
								t.Error(err)
								return
							}
							if _, _ = io.Copy(io.Discard, res.Body); res.StatusCode != 200 {
								t.Errorf("status %d", res.StatusCode)
							}
							_ = res.Body.Close()
						})
						testkit.Eventually(t, "it waits", func() bool { return r.handler.Gate.Load().Waiting == 1 })
						close(free)
						all.Wait()
						if !bytes.Equal(got, body) {
							t.Errorf("%d bytes came, and not the ones that were sent", len(got))
						}
						testkit.Eventually(t, "all is given back", func() bool { return len(r.handler.replay.reserve) == 1 })
					})
				}
			}
		}
	}
}

// Memory is taken by what has arrived: many slow senders of a byte hold little.
func TestSlowSendersHoldLittle(t *testing.T) {
	r := newRig(t, served(t, "plain", func(http.ResponseWriter, *http.Request) {}))
	const senders = 128
	for range senders {
		r.dial().send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nb", readAheadLimit)
	}
	testkit.Eventually(t, "all are read from", func() bool { return r.handler.Gate.Load().Arriving == senders })
	testkit.Eventually(t, "each holds its smallest page", func() bool { return r.handler.replay.taken() == senders*smallestPage })
}
