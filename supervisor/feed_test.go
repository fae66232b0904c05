package supervisor

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/status"
	"anthropic-oauth-proxy/messages"
)

// The journal in words: changes of the phase, and what is new beside them.
func TestTheJournalInWords(t *testing.T) {
	at := time.Now()
	tailnet := func(r messages.Reason) messages.TailnetStatus {
		if r == "" {
			return messages.TailnetStatus{Link: messages.LinkConnected}
		}
		return messages.TailnetStatus{Link: messages.LinkNotConnected, Reason: r}
	}
	entry := func(fact messages.Event, p messages.Phase, r messages.Reason) messages.JournalEntry {
		return messages.JournalEntry{At: at, Fact: fact, Times: 7, State: messages.State{Phase: p, Tailnet: tailnet(r)}}
	}
	journal := []messages.JournalEntry{
		entry(messages.ConfigLoaded{}, messages.ConnectingTailnet, messages.ReasonNotPolled),
		entry(messages.TailnetObserved{}, messages.Starting, ""),
		entry(messages.ListenerReady{Addr: "127.0.0.1:8080"}, messages.Running, ""),
		entry(messages.TailnetObserved{}, messages.Running, ""),
		entry(messages.TailnetObserved{}, messages.Running, ""),
		entry(messages.TailnetObserved{}, messages.Degraded, messages.ReasonTimeout),
		entry(messages.TailnetObserved{}, messages.Degraded, messages.ReasonRefused),
		entry(messages.ShutdownRequested{Cause: "terminated"}, messages.Draining, messages.ReasonRefused),
		entry(messages.DrainFinished{Cut: 3}, messages.Stopped, messages.ReasonRefused),
	}
	var got []string
	for _, e := range entriesOf(journal) {
		got = append(got, e.What+": "+e.Why)
	}
	want := []string{
		"draining → stopped: 3 requests were cut",
		"degraded → draining: terminated",
		"tailnet observed: " + messages.ReasonRefused.Meaning(),
		"running → degraded: " + messages.ReasonTimeout.Meaning(),
		"tailnet observed: the tailnet is connected",
		"starting → running: the proxy port 127.0.0.1:8080 is open",
		"connecting tailnet → starting: the tailnet is connected",
		"initializing → connecting tailnet: " + messages.ReasonNotPolled.Meaning(),
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("it says\n%s\nwant\n%s", g, w)
	}
}

// What goes through the proxy is in the Snapshot: who asked, what the API
// answered, how the stream ended, what is left of the limits.
func TestTheSnapshotTellsOfRequests(t *testing.T) {
	hold := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Anthropic-Ratelimit-Unified-5h-Utilization", "0.75")
		w.Header().Set("Request-Id", "req_011C")
		if r.URL.Path == "/529" {
			w.WriteHeader(529)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: message_stop\ndata: {}\n\n")
		if r.URL.Path == "/hold" {
			_ = http.NewResponseController(w).Flush()
			<-hold
		}
	}))
	defer api.Close()
	defer close(hold)
	s := start(t, setting{upstream: api.URL})
	ask := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://"+s.edge+path+"?secret=1", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "claude-cli/2.1.330 (external, cli)")
		req.Header.Set("Authorization", "Bearer sk-ant-oat01-x")
		res, err := direct.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for _, path := range []string{"/v1/messages", "/529"} {
		res := ask(path)
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	held := ask("/hold")
	defer held.Body.Close()

	var snap status.Snapshot
	s.eventually("the snapshot tells of all", func() bool {
		code, body := s.page("/debug/status")
		snap = status.Snapshot{}
		if err := json.Unmarshal([]byte(body), &snap); err != nil || code != 200 {
			t.Fatalf("/debug/status: %d %v: %s", code, err, body)
		}
		return snap.Traffic.Endings.Total == 2 && len(snap.Clients) == 1 && snap.Clients[0].Total == 2 && snap.API.Streams[status.StreamStop] == 1 &&
			len(snap.Streams) == 1 && snap.Streams[0].Phase == "stream" && snap.Streams[0].Received > 0
	})
	if e := snap.Traffic.Endings; e.Whole != 1 || e.API != 1 {
		t.Errorf("the endings are %+v", e)
	}
	if len(snap.Clients) != 1 || snap.Clients[0].Name != "claude-cli/2.1.330" || snap.Clients[0].Answers[status.Class529] != 1 || snap.Clients[0].Answers[status.Class2xx] != 1 {
		t.Errorf("the clients are %+v", snap.Clients)
	}
	if h := snap.API.Headroom; h == nil || h.Credentials != 1 || h.Utilization["5h"] != .75 {
		t.Errorf("the headroom is %+v", h)
	}
	if snap.API.Streams[status.StreamStop] != 1 || snap.API.LastTrouble == nil || snap.API.LastTrouble.UpstreamID != "req_011C" || len(snap.API.Connections) == 0 {
		t.Errorf("the API is %+v", snap.API)
	}
	if v := snap.Streams[0]; v.Path != "/hold" || v.Credential != "oauth" || v.QuietSeconds == nil {
		t.Errorf("in flight is %+v", v)
	}
	if len(snap.Journal) == 0 || len(snap.Tree) == 0 || snap.Tailnet.LastRequest == nil || !snap.Port.Serving || !snap.Verdict.Healthy {
		t.Errorf("the snapshot is %+v", snap)
	}
}
