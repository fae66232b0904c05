package upstream

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// breaking is a socket whose writes fail from some moment on, while it can
// still be read.
type breaking struct {
	net.Conn
	broken *atomic.Bool
}

func (b breaking) Write(p []byte) (int, error) {
	if b.broken.Load() {
		return 0, syscall.EPIPE
	}
	return b.Conn.Write(p)
}

// A request whose head was not written is unsent; one whose head was, may have
// been processed.
func TestWhatWasNotWrittenIsUnsent(t *testing.T) {
	for _, afterHead := range []bool{false, true} {
		in(t, func(t *testing.T, f *far) {
			farPeers(t, f, func(_ int, p *peer) {
				_ = p.WriteSettings(limit(100))
				p.Answer(p.request(), "fine")
				p.Drain()
			})
			p := farPool(t, f)
			var broken atomic.Bool
			dial := p.connect.dial
			p.connect.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := dial(ctx, network, address)
				return breaking{c, &broken}, err
			}
			if _, err := get(t.Context(), p, "/"); err != nil {
				t.Fatal(err)
			}
			broken.Store(!afterHead)
			body, feed := io.Pipe()
			defer feed.Close()
			if afterHead {
				go func() {
					_, _ = feed.Write(make([]byte, 100))
					time.Sleep(time.Second)
					broken.Store(true)
					_, _ = feed.Write(make([]byte, 100))
				}()
			}
			_, err := p.RoundTrip(t.Context(), post(p, body))
			outcome(t, "a broken socket", err, map[bool]Stage{false: Unsent, true: Sent}[afterHead], NoCode)
		})
	}
}

// What the API says with a reset is counted and told.
func TestResetsAreToldAndCounted(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		codes := []http2.ErrCode{http2.ErrCodeRefusedStream, http2.ErrCodeInternal, http2.ErrCodeNo, 0x99}
		farPeers(t, f, func(_ int, p *peer) {
			_ = p.WriteSettings(limit(100))
			for _, code := range codes {
				id := p.request()
				_ = p.WriteRSTStream(id, code)
			}
			p.Head(p.request(), false, ":status", "200")
			_ = p.WriteRSTStream(9, http2.ErrCodeRefusedStream)
			p.Drain()
		})
		p := farPool(t, f)
		for i, want := range []Code{"REFUSED_STREAM", "INTERNAL_ERROR", "NO_ERROR", "UNKNOWN"} {
			_, err := get(t.Context(), p, "/")
			stage := Sent
			if i == 0 {
				stage = Refused
			}
			outcome(t, string(want), err, stage, want)
		}
		_, err := get(t.Context(), p, "/")
		outcome(t, "refused after its head", err, Sent, "REFUSED_STREAM")
		got := scraped(t, p)
		for code, n := range map[string]float64{"REFUSED_STREAM": 2, "INTERNAL_ERROR": 1, "NO_ERROR": 1, "UNKNOWN": 1, "CANCEL": 0} {
			if v, there := got["upstream_resets_total/"+code]; !there || v != n {
				t.Errorf("%s: %v counted, want %v", code, v, n)
			}
		}
	})
}
