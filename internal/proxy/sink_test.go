package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/testkit"
)

// onlooker follows every exchange and keeps what it is told.
type onlooker struct {
	reads Reads
	bomb  string // where it fails

	mu   sync.Mutex
	said []string
	live *Live
	done chan *Record
}

func (o *onlooker) Reads() Reads { return o.reads }

func (o *onlooker) say(where, format string, args ...any) {
	o.mu.Lock()
	o.said = append(o.said, where+": "+fmt.Sprintf(format, args...))
	o.mu.Unlock()
	if o.bomb == where {
		panic("CANARY")
	}
}

func (o *onlooker) Follow(live *Live, request Fields) Tap {
	o.mu.Lock()
	o.live = live
	o.mu.Unlock()
	var all []string
	for name, value := range request.All() {
		all = append(all, name+"="+value)
	}
	o.say("follow", "%q, %q, %q", all, request.Get("authorization"), request.Get("x-other"))
	return o
}

func (o *onlooker) Answered(status int, answer Fields) {
	o.say("answered", "%d %s %s %s", status, answer.Get("anthropic-ratelimit-tokens-remaining"), answer.Get("Anthropic-Ratelimit-Unified-Status"), answer.Get("x-secret"))
}

func (o *onlooker) Chunk(p []byte) { o.say("chunk", "%s", p) }

func (o *onlooker) Ended(r *Record) {
	o.done <- r
	o.say("ended", "%s", r.Outcome)
}

func (o *onlooker) heard() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.said, "; ")
}

func followed(t *testing.T, bomb string) (*rig, *onlooker) {
	o, _ := mirror(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Secret: CANARY\r\nAnthropic-Ratelimit-Tokens-Remaining: 7\r\nAnthropic-Ratelimit-Unified-Status: allowed\r\n\r\nfine")
	look := &onlooker{bomb: bomb, reads: Reads{Request: []string{"user-agent"}, Answer: []string{"anthropic-ratelimit-*"}}, done: make(chan *Record, 8)}
	o.followers = []Follower{look}
	return newRig(t, o), look
}

// A follower sees the fields that it declared, the content as it passes, and the
// end; no more.
func TestAFollowerSeesWhatItDeclared(t *testing.T) {
	r, look := followed(t, "")
	c := r.dial()
	c.send("POST /v1/x?q=CANARY HTTP/1.1\r\nHost: x\r\nUser-Agent: claude-cli/1.2.3\r\nAuthorization: Bearer CANARY\r\nX-Other: CANARY\r\nContent-Length: 4\r\n\r\nbody")
	if _, body := c.answer("POST"); body != "fine" {
		t.Fatalf("got %q", body)
	}
	rec := <-look.done
	r.record()
	want := `follow: ["User-Agent=claude-cli/1.2.3"], "", ""; answered: 200 7 allowed ; chunk: fine; ended: completed`
	if got := look.heard(); got != want {
		t.Errorf("it heard\n%s\nwant\n%s", got, want)
	}
	if rec.Path != "/v1/x" || rec.RequestBytes != 4 || rec.ResponseBytes != 4 || rec.Status != 200 || rec.UpstreamStatus != 200 || rec.Attempts != 1 {
		t.Errorf("record %+v", rec)
	}
	if live := look.live.Record(); live.Outcome != Completed || live.Phase != InStream {
		t.Errorf("what was in flight is now %+v", live)
	}
}

// A tap that fails harms nobody, and is let go.
func TestATapThatFails(t *testing.T) {
	for _, bomb := range []string{"follow", "answered", "chunk", "ended"} {
		t.Run(bomb, func(t *testing.T) {
			r, look := followed(t, bomb)
			for range 2 {
				c := r.dial()
				c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if res, body := c.answer("GET"); res.StatusCode != 200 || body != "fine" {
					t.Errorf("got %d %q", res.StatusCode, body)
				}
				if rec := r.record(); rec.Outcome != "completed" {
					t.Errorf("record %+v", rec)
				}
			}
			if got := look.heard(); strings.Count(got, bomb+":") != 2 || bomb != "ended" && strings.Contains(got, "ended:") {
				t.Errorf("it heard %s", got)
			}
			if strings.Contains(r.journal.String(), "CANARY") {
				t.Error("the panic's value is in the log")
			}
		})
	}
}

// An exchange in flight can be looked at in each of its phases.
func TestAnExchangeInFlight(t *testing.T) {
	answer, finish := make(chan struct{}), make(chan struct{})
	look := &onlooker{done: make(chan *Record, 8)}
	o := served(t, "tls2", func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		<-answer
		_, _ = io.WriteString(w, "data: x\n\n")
		w.(http.Flusher).Flush()
		<-finish
		_, _ = io.WriteString(w, "data: y\n\n")
	})
	o.followers = []Follower{look}
	r := newRig(t, o)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n%s", strings.Repeat("b", 300000))
	stands := func(p Phase, request, response int64) func() bool {
		return func() bool {
			look.mu.Lock()
			live := look.live
			look.mu.Unlock()
			if live == nil {
				return false
			}
			rec := live.Record()
			return rec.Phase == p && rec.RequestBytes == request && rec.ResponseBytes == response && rec.Outcome == ""
		}
	}
	testkit.Eventually(t, "it uploads", stands(InUpload, 300000, 0))
	c.send("%s", strings.Repeat("b", 100000))
	testkit.Eventually(t, "it waits", stands(InWait, 400000, 0))
	close(answer)
	testkit.Eventually(t, "it streams", stands(InStream, 400000, 9))
	const quiet = 50 * time.Millisecond
	<-time.After(quiet)
	close(finish)
	if _, body := c.answer("POST"); body != "data: x\n\ndata: y\n\n" {
		t.Errorf("got %q", body)
	}
	rec := <-look.done
	if rec.Silence < quiet || rec.UpstreamWait <= 0 || rec.Overhead < 0 || rec.Overhead > rec.Head {
		t.Errorf("silence %v, waited for the API %v, overhead %v", rec.Silence, rec.UpstreamWait, rec.Overhead)
	}
	if rec.Admitted == 0 || rec.Sent < rec.Admitted || rec.FirstByte < rec.Head || rec.LastByte < rec.FirstByte+quiet {
		t.Errorf("the moments are %+v", rec)
	}
	r.record()
}

// Callers are told apart by node, else by credential, else by connection, and
// their keys are of this process alone. Requests are nobody's for their connection's
// sake when they say whose they are (9110 3.3).
func TestLineKeys(t *testing.T) {
	k := newLineKeys()
	h := func(pairs ...string) (h headers.Fields) {
		for i := 0; i < len(pairs); i += 2 {
			h = append(h, headers.Field{Name: pairs[i], Value: pairs[i+1]})
		}
		return h
	}
	alice, bob := h("Authorization", "Bearer sk-ant-oat01-a"), h("AUTHORIZATION", "Bearer sk-ant-oat01-b")
	key, dash := h("x-api-KEY", "sk-ant-api03-a"), h("Authorization", "Bearer -")
	here, there := func() string { return "100.64.0.1:1" }, func() string { return "100.64.0.1:2" }
	for _, tc := range []struct {
		name string
		a, b any
		same bool
	}{
		{"one node", k.node("laptop"), k.node("laptop"), true},
		{"two nodes", k.node("laptop"), k.node("phone"), false},
		{"one credential on two connections", k.stranger(alice, here), k.stranger(alice, there), true},
		{"two credentials on one connection", k.stranger(alice, here), k.stranger(bob, here), false},
		{"one key on two connections", k.stranger(key, here), k.stranger(key, there), true},
		{"no credential, one connection", k.stranger(h(), here), k.stranger(h("X-Claude-Code-Session-Id", "1"), here), true},
		{"no credential, two connections", k.stranger(h(), here), k.stranger(h(), there), false},
		{"a placeholder is nobody's own", k.stranger(dash, here), k.stranger(dash, there), false},
		{"a node of a credential's name", k.node("Bearer sk-ant-oat01-a"), k.stranger(alice, here), false},
		{"another process", k.node("laptop"), newLineKeys().node("laptop"), false},
	} {
		if same := tc.a == tc.b; same != tc.same {
			t.Errorf("%s: the same caller: %v, want %v", tc.name, same, tc.same)
		}
	}
}

// A client that is lost while the tailnet is lost is not to blame.
func TestWhoIsToBlame(t *testing.T) {
	for _, lost := range []bool{true, false} {
		x := &exchange{h: &Handler{Options: Options{TailnetLost: func() bool { return lost }}}}
		for by, want := range map[Party]Party{ByClient: ByClient, ByProxy: ByProxy, ByUpstream: ByUpstream} {
			if lost && by == ByClient {
				want = ByTailnet
			}
			if got := x.blame(by); got != want {
				t.Errorf("tailnet lost: %v, ended by %s: blamed on %s, want %s", lost, by, got, want)
			}
		}
	}
}

var _ edge.Handler = (*Handler)(nil)
