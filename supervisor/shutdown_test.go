package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

// finale reads a stream to its end and returns the last event; it calls begun
// after the first one. The body must end as HTTP wants it: an answer that is cut
// off gives an error.
func finale(client *http.Client, edge string, begun func()) (string, error) {
	res, err := client.Post("http://"+edge+"/v1/messages?stream=0", "application/json", strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for lastEvent := ""; ; {
		event, err := readEvent(in)
		if err == io.EOF && event == "" {
			return lastEvent, nil
		}
		if err != nil {
			return lastEvent, err
		}
		if lastEvent == "" {
			begun()
		}
		lastEvent = event
	}
}

// watchers opens streams, over HTTP/1.1 and HTTP/2 in turn, waits for the first
// event of each, and returns what each ended with.
func (s *stage) watchers(streams int) (ends func() []string) {
	s.t.Helper()
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transports := []*http.Transport{{}, {Protocols: &h2}}
	all := make([]string, streams)
	var reading, begun sync.WaitGroup
	begun.Add(streams)
	for i := range streams {
		reading.Go(func() {
			begin := sync.OnceFunc(begun.Done)
			defer begin()
			event, err := finale(&http.Client{Transport: transports[i%2]}, s.edge, begin)
			if err != nil {
				event = fmt.Sprintf("broken: %v after %q", err, event)
			}
			all[i] = event
		})
	}
	begun.Wait()
	return func() []string {
		reading.Wait()
		for _, t := range transports {
			t.CloseIdleConnections()
		}
		return all
	}
}

func TestADrainLetsStreamsFinish(t *testing.T) {
	api := newTicker(t, 10*time.Millisecond)
	s := start(t, setting{upstream: api.URL, proxy: "drain_timeout_secs = 60"})
	ends := s.watchers(10)
	s.shutdown("terminated")
	s.await(messages.Draining)
	if code, body := s.page("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz during the drain: %d %s", code, body)
	}
	if code, body := s.page("/health"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"status":"draining"`) {
		t.Errorf("/health during the drain: %d %s", code, body)
	}
	if code, body := s.page("/livez"); code != http.StatusOK {
		t.Errorf("/livez during the drain: %d %s", code, body)
	}
	s.eventually("the door is closed", func() bool { return s.knocksInVain() })
	if !s.system.gate.Closed() {
		t.Error("the door is closed and the gate is not")
	}

	// Whatever fails now, the drain goes on.
	for _, name := range []string{"drain", "listener", "conductor", "metrics"} {
		if !s.actors[name].failAndReturn(byPanic) {
			t.Fatalf("%s did not come back during the drain", name)
		}
	}
	if !s.knocksInVain() {
		t.Error("the door opened again after every actor was restarted")
	}

	close(api.finish)
	for i, event := range ends() {
		if !strings.HasPrefix(event, "event: message_stop\n") {
			t.Errorf("stream %d ended with %q", i, event)
		}
	}
	if exit := s.ends(); exit.Code != 0 || !strings.Contains(exit.Message, "every request finished") {
		t.Errorf("ended with %+v", exit)
	}
}

// knocksInVain reports whether the proxy port refuses connections: the one
// failure that every client takes well.
func (s *stage) knocksInVain() bool {
	c, err := net.Dial("tcp", s.edge)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Streams that are ended early break: their clients ask again for a stream that
// broke, and would take an event of ours for the API's last word.
func TestStreamsThatAreCutBreak(t *testing.T) {
	const streams = 40
	for _, tc := range []struct {
		name, patience string
		insist         bool
		message        string
	}{
		{"by the deadline", "drain_timeout_secs = 0.3", false, fmt.Sprintf("ended %d of the requests", streams)},
		{"with no time at all", "drain_timeout_secs = 0", false, fmt.Sprintf("ended %d of the requests", streams)},
		{"by an interrupt", "drain_timeout_secs = 60", true, fmt.Sprintf("cut short (interrupt). %d requests in flight were cut", streams)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := newTicker(t, 5*time.Millisecond)
			s := start(t, setting{upstream: api.URL, proxy: tc.patience})
			ends := s.watchers(streams)
			order := s.watchPorts()
			began := time.Now()
			s.shutdown("terminated")
			if tc.insist {
				s.await(messages.Draining)
				s.interrupt("interrupt")
			}
			if exit := s.ends(); exit.Code != 0 || !strings.Contains(exit.Message, tc.message) {
				t.Errorf("ended with %+v, want %q", exit, tc.message)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			order()
			wantLine := `"event":"drain","stage":"deadline"`
			if tc.insist {
				wantLine = `"event":"hang_up"`
			}
			if !strings.Contains(s.log.String(), fmt.Sprintf(`%s,"streams":%d,"oldest_ms":`, wantLine, streams)) {
				t.Error("the log does not tell how many streams were ended, and how old they were")
			}
			for i, event := range ends() {
				if !strings.HasPrefix(event, "broken: ") {
					t.Errorf("stream %d ended with %q: a clean end of half an answer", i, event)
				}
			}
		})
	}
}

// watchPorts watches until the end that the admin port outlives the proxy port.
func (s *stage) watchPorts() (verdict func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, _, admin := get("http://" + s.admin + "/livez")
			_, _, edge := get("http://" + s.edge + "/health")
			if admin != nil && edge == nil {
				s.t.Errorf("the admin port closed before the proxy port: %v", admin)
			}
			if admin != nil {
				return
			}
		}
	}()
	return func() { <-done }
}
