package tailnet

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/messages"
)

// says answers every question with the same body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// endless answers without an end, and says how much was taken.
type endless struct {
	opening string
	taken   chan int64
}

func (e endless) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n, _ := io.WriteString(w, e.opening)
	taken := int64(n)
	for filler := strings.Repeat("x", 64<<10); ; {
		n, err := io.WriteString(w, filler)
		taken += int64(n)
		if err != nil {
			e.taken <- taken
			return
		}
	}
}

// Whatever answers at the path, it is classified: never a panic, never good
// news, never more read than bounded.
func TestStrangeAnswersAreClassified(t *testing.T) {
	truncated := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"BackendState":"Runn`)
	}
	for _, tc := range []struct {
		name string
		h    http.Handler
		want messages.Reason // of the status
	}{
		{"null", says(200, "null"), messages.ReasonBadAnswer},
		{"nothing", says(200, ""), messages.ReasonBadAnswer},
		{"half of it, well ended", says(200, `{"BackendState":"Runn`), messages.ReasonBadAnswer},
		{"half of it, then cut", http.HandlerFunc(truncated), messages.ReasonPollFailed},
		{"no JSON", says(200, "<html>hello</html>"), messages.ReasonBadAnswer},
		{"two values", says(200, `{"BackendState":"Running"}{}`), messages.ReasonBadAnswer},
		{"another type", says(200, `[1,2]`), messages.ReasonBadAnswer},
		{"a wrong field", says(200, `{"BackendState":7,"Err":7,"Node":7,"Health":7}`), messages.ReasonBadAnswer},
		{"an empty object", says(200, "{}"), messages.ReasonUnknownState},
		{"nulls all over", says(200, `{"BackendState":"Running","TailscaleIPs":[""],"Self":null,"Peer":{"nodekey:`+
			strings.Repeat("00", 32)+`":null},"Health":null,"Node":null,"CurrentTailnet":null}`), messages.ReasonNoAddress},
		{"another server", says(404, "page not found"), messages.ReasonBadAnswer},
		{"a broken server", says(500, "no"), messages.ReasonBadAnswer},
		{"a refusal", says(403, "access denied"), messages.ReasonPermissionDenied},
		{"a redirect", http.RedirectHandler("http://example.com/", http.StatusFound), messages.ReasonPollFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := source(t, testkit.ServeUnix(t, tc.h))
			st, err := src.Status(t.Context())
			got := Classify(st, err, nil, time.Now())
			if got.Link != messages.LinkNotConnected || got.Reason != tc.want || got.Detail == "" && tc.want != messages.ReasonNoAddress {
				t.Errorf("the status is %q %q (%q), want %q", got.Link, got.Reason, got.Detail, tc.want)
			}
			for _, peer := range []string{"ai", "100.64.0.9"} {
				if err := src.Ping(t.Context(), peer); err == nil && tc.name != "an empty object" && tc.name != "nulls all over" {
					t.Errorf("a ping of %s was answered", peer)
				}
			}
			if who, err := src.WhoIs(t.Context(), "127.0.0.1:1"); err == nil && who != nil && who.Node != nil {
				t.Errorf("somebody was named: %+v", who.Node)
			}
			if err := src.Watch(t.Context(), func(Warnings) {}); err == nil {
				t.Error("the bus ended without an error")
			}
		})
	}
}

func TestHugeAnswersAreNotRead(t *testing.T) {
	const slack = 1 << 20 // of the sockets' and the writers' buffers
	for _, tc := range []struct {
		name  string
		limit int64
		ask   func(*LocalAPI) error
	}{
		{"status", maxAnswer, func(l *LocalAPI) error { _, err := l.Status(t.Context()); return err }},
		{"whois", maxAnswer, func(l *LocalAPI) error { _, err := l.WhoIs(t.Context(), "127.0.0.1:1"); return err }},
		{"ping", 2 * maxAnswer, func(l *LocalAPI) error { return l.Ping(t.Context(), "100.64.0.9") }},
		{"bus", maxNotice, func(l *LocalAPI) error { return l.Watch(t.Context(), func(Warnings) {}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := endless{opening: `{"Health":{"Warnings":{"`, taken: make(chan int64, 4)}
			src := source(t, testkit.ServeUnix(t, h))
			if err := tc.ask(src); err == nil || failureReason(err) != messages.ReasonBadAnswer {
				t.Errorf("an answer without end is %q: %v", failureReason(err), err)
			}
			if taken := <-h.taken; taken > tc.limit+slack {
				t.Errorf("%d bytes were taken, the bound is %d", taken, tc.limit)
			}
		})
	}
}

// The bus is bounded by the message, not by its life.
func TestTheBusOutlivesItsBound(t *testing.T) {
	const count = 20
	message := `{"Version":"` + strings.Repeat("x", maxNotice/4) + `"}` + "\n"
	src := source(t, testkit.ServeUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range count {
			_, _ = io.WriteString(w, message)
		}
	})))
	heard := 0
	err := src.Watch(t.Context(), func(Warnings) { heard++ })
	if heard != count+1 {
		t.Errorf("%d messages were heard, then %v; want %d", heard, err, count+1)
	}
}

func TestAHeadWithoutEndIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := make(chan int, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			taken <- 0
			return
		}
		defer c.Close()
		n, _ := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; err == nil; i++ {
			var m int
			m, err = fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 8<<10))
			n += m
		}
		taken <- n
	}()
	if _, err := source(t, path).Status(t.Context()); err == nil {
		t.Error("a head without end is an answer")
	}
	if n := <-taken; n > 4<<20 {
		t.Errorf("%d bytes of it were taken", n)
	}
}

// A daemon that lives on after another took its place answers nobody any more,
// on no connection and not on the bus.
func TestAReplacedSocketIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	serve := func(generation int) {
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		mux := http.NewServeMux()
		mux.HandleFunc("/localapi/v0/status", says(200, `{"Version":"`+strconv.Itoa(generation)+`"}`))
		mux.HandleFunc("/localapi/v0/watch-ipn-bus", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		srv := &http.Server{Handler: mux}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { srv.Close() })
	}
	src := source(t, path)
	t.Cleanup(src.Close)
	ask := func(want int) {
		t.Helper()
		st, err := src.Status(t.Context())
		if err != nil || st.Version != strconv.Itoa(want) {
			t.Fatalf("daemon %d should answer, got %+v, %v", want, st, err)
		}
	}
	serve(0)
	for generation := range 5 {
		opened, ended := make(chan struct{}, 1), make(chan error, 1)
		go func() { ended <- src.Watch(t.Context(), func(Warnings) { opened <- struct{}{} }) }()
		<-opened
		ask(generation)
		ask(generation) // over an idle connection
		if err := os.Rename(path, path+"."+strconv.Itoa(generation)); err != nil {
			t.Fatal(err)
		}
		serve(generation + 1)
		ask(generation + 1)
		if err := <-ended; err == nil || !strings.Contains(err.Error(), errReplaced.Error()) {
			t.Errorf("the bus of the daemon before ended with %v", err)
		}
	}
}
