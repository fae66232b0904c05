package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ticker is an API whose streams send an event at every tick until they are
// told to finish.
type ticker struct {
	*httptest.Server
	every  time.Duration
	finish chan struct{}
	begun  atomic.Int64 // streams, ever
	events atomic.Int64 // sent, of all streams
}

func newTicker(t *testing.T, every time.Duration) *ticker {
	t.Helper()
	u := &ticker{every: every, finish: make(chan struct{})}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func tick(stream string, n int) string {
	return fmt.Sprintf("event: tick\ndata: {\"stream\":%s,\"n\":%d}\n\n", stream, n)
}

func last(n int) string { return fmt.Sprintf("event: message_stop\ndata: {\"events\":%d}\n\n", n) }

func (u *ticker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.begun.Add(1)
	w.Header().Set("Content-Type", "text/event-stream")
	stream := r.URL.Query().Get("stream")
	beat := time.NewTicker(u.every)
	defer beat.Stop()
	for n := 0; ; n++ {
		if _, err := io.WriteString(w, tick(stream, n)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		u.events.Add(1)
		select {
		case <-beat.C:
		case <-r.Context().Done():
			return
		case <-u.finish:
			_, _ = io.WriteString(w, last(n+1))
			return
		}
	}
}

// listen reads one stream to its end and says what is wrong with it.
func listen(client *http.Client, edge string, stream int) error {
	name := fmt.Sprint(stream)
	res, err := client.Post("http://"+edge+"/v1/messages?stream="+name, "application/json", strings.NewReader(`{"stream":true}`))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	in := bufio.NewReader(res.Body)
	for n := 0; ; n++ {
		event, err := readEvent(in)
		if err != nil {
			return fmt.Errorf("after %d events: %w", n, err)
		}
		if event == last(n) {
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				return fmt.Errorf("after the last event: %q, %w", rest, err)
			}
			return nil
		}
		if event != tick(name, n) {
			return fmt.Errorf("event %d is %q", n, event)
		}
	}
}

// readEvent reads up to and with the next empty line.
func readEvent(in *bufio.Reader) (string, error) {
	var event strings.Builder
	for {
		line, err := in.ReadString('\n')
		event.WriteString(line)
		if err != nil || line == "\n" {
			return event.String(), err
		}
	}
}

// audience is many streams that run at the same time, half of them over
// HTTP/2.
type audience struct {
	done   sync.WaitGroup
	broken atomic.Int64
}

func (s *stage) gather(u *ticker, streams int) *audience {
	s.t.Helper()
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	over1 := &http.Transport{}
	over2 := &http.Transport{Protocols: &h2}
	s.t.Cleanup(func() {
		over1.CloseIdleConnections()
		over2.CloseIdleConnections()
	})
	a := &audience{}
	for i := range streams {
		client := &http.Client{Transport: over1}
		if i%2 == 1 {
			client.Transport = over2
		}
		a.done.Go(func() {
			if err := listen(client, s.edge, i); err != nil {
				a.broken.Add(1)
				s.t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	s.eventually("every stream has begun", func() bool { return u.begun.Load() == int64(streams) })
	return a
}
