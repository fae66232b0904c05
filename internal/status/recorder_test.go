package status

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What has happened in 15 minutes is counted, what is older is forgotten, and
// a step in which nobody came or went shows who was there.
func TestWindow(t *testing.T) {
	var w window
	for range 5 {
		w.begin(noon)
	}
	w.end(noon.Add(30*time.Second), Ending{Answer: 200, Whole: true, FirstByte: 2 * time.Second, Overhead: time.Millisecond})
	w.end(noon.Add(31*time.Second), Ending{Answer: 529, Whole: true, ID: "req_1", UpstreamID: "req_011C"})

	tr, api := w.read(noon.Add(65 * time.Second))
	if e := tr.Endings; e != (Endings{Total: 2, Whole: 1, API: 1}) {
		t.Errorf("the endings are %+v", e)
	}
	if api.Answers[Class2xx] != 1 || api.Answers[Class529] != 1 || api.LastTrouble == nil || api.LastTrouble.UpstreamID != "req_011C" {
		t.Errorf("the API is %+v", api)
	}
	var active []int64
	for _, p := range tr.Points[Steps-8:] {
		active = append(active, p.Active)
	}
	// The step of noon is the seventh from the end.
	if got, want := fmt.Sprint(active), "[0 5 5 5 5 3 3 3]"; got != want {
		t.Errorf("in flight were %s, want %s", got, want)
	}
	if p := tr.FirstByteP50; p < 2 || p > 2*widening {
		t.Errorf("the first byte took %v s", p)
	}
	if tr.OverheadP50 == nil || *tr.OverheadP50 < .001 || *tr.OverheadP50 > .001*widening {
		t.Errorf("our share was %v", tr.OverheadP50)
	}
	if got := tr.PerSecond; got != 2/time.Minute.Seconds() {
		t.Errorf("%v requests a second", got)
	}
	if tr, _ := w.read(noon.Add(31*time.Second + Steps*Step)); tr.Endings.Total != 0 {
		t.Errorf("after 15 minutes there are still %+v", tr.Endings)
	}
	// The ring has gone round: what stands there is another time's.
	w.begin(noon.Add((slots + 4) * Step))
	if tr, _ := w.read(noon.Add((slots + 4) * Step)); tr.Endings.Total != 0 || tr.Points[Steps-1].Active != 4 {
		t.Errorf("the next round begins with %+v", tr.Points[Steps-1])
	}
}

func TestQuantiles(t *testing.T) {
	for _, d := range []time.Duration{time.Nanosecond, narrowest, time.Millisecond, 999 * time.Millisecond, time.Minute, 20 * time.Minute} {
		var s spread
		var sum times
		s.add(d)
		sum.add(&s)
		got := sum.quantile(.5)
		if got < d-d/1000 || got > max(narrowest, time.Duration(float64(d)*widening)) {
			t.Errorf("%v is told as %v", d, got)
		}
	}
	if (&times{}).quantile(.99) != 0 {
		t.Error("nothing has a quantile")
	}
}

// Whoever reads finds sums that fit together while everybody writes.
func TestReadersStopNobody(t *testing.T) {
	r := NewRecorder()
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 500 {
				r.Began()
				live := r.streams.Enter("req", "/v1/messages", "oauth", "wait", time.Now())
				live.AddReceived(10, time.Now())
				r.Limits(fmt.Sprint(n, i), 200, http.Header{"Anthropic-Ratelimit-Unified-5h-Utilization": {"0.5"}})
				r.streams.Leave(live)
				r.Ended(Ending{Answer: 200, Whole: true, Client: fmt.Sprintf("claude-cli/1.%d.%d", n, i)})
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		now := time.Now()
		tr, _ := r.window.read(now)
		if e := tr.Endings; e.Total != e.Whole {
			t.Fatalf("parts and sum differ: %+v", e)
		}
		if n := len(r.clients.read(now)); n > clientsKept+1 {
			t.Fatalf("%d clients are kept", n)
		}
		r.headroom.read(now)
		r.streams.read(now, StreamsShown)
	}
	now := time.Now()
	tr, _ := r.window.read(now)
	if tr.Endings.Total != 2000 || r.window.active.Load() != 0 {
		t.Errorf("counted %+v, %d in flight", tr.Endings, r.window.active.Load())
	}
	var total uint64
	for _, c := range r.clients.read(now) {
		total += c.Total
	}
	if total != 2000 {
		t.Errorf("%d answers are counted by client", total)
	}
	if h := r.headroom.read(now); h == nil || h.Credentials != credentialsKept {
		t.Errorf("the headroom is %+v", h)
	}
}

func TestClientNames(t *testing.T) {
	for agent, want := range map[string]string{
		"claude-cli/2.1.330 (external, cli)": "claude-cli/2.1.330",
		"claude-cli/2.1.330":                 "claude-cli/2.1.330",
		"claude-code/3.0.1 (x)":              "claude-code/3.0.1",
		"Anthropic/Python 0.40.0":            "sdk-python",
		"AsyncAnthropic/Python 0.40.0":       "sdk-python",
		"Anthropic/JS 0.32.1":                "sdk-js",
		"Anthropic/Go 1.4.0":                 "sdk-go",
		"":                                   Other,
		"curl/8.0":                           Other,
		"Bun/1.2":                            Other,
		"claude-cli/2.1.330-secret":          Other,
		"claude-cli/2.1":                     Other,
		"claude-cli/1.2.3.4":                 Other,
		"claude-cli/123456.1.1":              Other,
		"claude-cli/sk-ant-oat01-x":          Other,
		"Anthropic/sk-ant-oat01-x":           Other,
		"claude-cli/..":                      Other,
	} {
		if got := ClientName(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}

// A crowd of names pushes out nobody who is in use, and a name in use finds a
// place once others have been silent for long.
func TestClientsAreBounded(t *testing.T) {
	var c clients
	for i := range 5 * clientsKept {
		c.count(noon, fmt.Sprintf("claude-cli/1.0.%d", i), 0)
	}
	c.count(noon.Add(forgotten-time.Minute), "claude-cli/1.0.0", 2)
	if list := c.read(noon); len(list) != clientsKept+1 || list[0].Name != Other || list[0].Total != 4*clientsKept {
		t.Errorf("%d names, first %+v", len(list), list[0])
	}
	later := noon.Add(forgotten)
	c.count(later, "claude-cli/2.0.0", 0)
	names := make(map[string]Client)
	for _, one := range c.read(later) {
		names[one.Name] = one
	}
	if _, there := names["claude-cli/2.0.0"]; !there || len(names) != clientsKept+1 {
		t.Errorf("the new name is not among %d", len(names))
	}
	if kept := names["claude-cli/1.0.0"]; kept.Answers[Class4xx] != 1 {
		t.Errorf("who was in use is %+v", kept)
	}
}

func TestClientsJudgedByTheLastMinutes(t *testing.T) {
	var c clients
	for minute := range 30 {
		at := noon.Add(time.Duration(minute) * time.Minute)
		c.count(at, "claude-cli/1.0.0", 2)
		c.count(at, "claude-cli/1.0.0", 0)
	}
	one := c.read(noon.Add(29 * time.Minute))[0]
	if one.Total != 60 || one.Recent != 30 || one.RecentBad != 15 {
		t.Errorf("30 minutes are %+v", one)
	}
}

func TestHeadroom(t *testing.T) {
	h := newHeadroom()
	note := func(credential string, status int, lines ...string) {
		header := make(http.Header)
		for i := 0; i < len(lines); i += 2 {
			header.Set(lines[i], lines[i+1])
		}
		h.note(noon, credential, status, header)
	}
	if h.read(noon) != nil {
		t.Error("something is known before anybody said anything")
	}
	note("a", 200, "anthropic-ratelimit-requests-limit", "100", "anthropic-ratelimit-requests-remaining", "40",
		"anthropic-ratelimit-tokens-limit", "1000", "anthropic-ratelimit-tokens-remaining", "900", "anthropic-ratelimit-requests-reset", "2026-11-25T12:05:00Z")
	note("b", 200, "anthropic-ratelimit-requests-limit", "50", "anthropic-ratelimit-requests-remaining", "5")
	note("c", 429, "anthropic-ratelimit-unified-status", "rejected", "anthropic-ratelimit-unified-5h-utilization", "0.97",
		"anthropic-ratelimit-unified-7d-utilization", "0.2", "anthropic-ratelimit-unified-5h-reset", fmt.Sprint(noon.Add(time.Hour).Unix()), "retry-after", "90")
	// What cannot be read counts as not said.
	note("d", 200, "anthropic-ratelimit-tokens-limit", "many", "anthropic-ratelimit-tokens-remaining", "NaN", "anthropic-ratelimit-unified-5h-utilization", "-1",
		"anthropic-ratelimit-unified-7d-utilization", "1e99", "anthropic-ratelimit-tokens-reset", "tomorrow")
	note("e", 200, "content-type", "application/json")
	note("", 200, "anthropic-ratelimit-requests-limit", "50", "anthropic-ratelimit-requests-remaining", "0")

	got := h.read(noon)
	if got.Credentials != 4 || got.Refused != 1 {
		t.Errorf("credentials: %+v", got)
	}
	if fmt.Sprint(got.LeastRemaining) != "map[requests:0.1 tokens:0.9]" || fmt.Sprint(got.Utilization) != "map[5h:0.97 7d:0.2]" {
		t.Errorf("left %v, used %v", got.LeastRemaining, got.Utilization)
	}
	if got.NextReset == nil || !got.NextReset.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("the next reset is %v", got.NextReset)
	}
	if got := h.read(noon.Add(91 * time.Second)); got.Refused != 0 {
		t.Errorf("still refused: %+v", got)
	}
	if got := h.read(noon.Add(limitsBelieved + time.Second)); got != nil {
		t.Errorf("old words are believed: %+v", got)
	}
}

// A credential leaves nothing that could be looked up: not in the JSON, not in
// a metric, and its hash is another one in the next process.
func TestCredentialsLeaveNothing(t *testing.T) {
	const secret = "sk-ant-oat01-canary"
	r := NewRecorder()
	r.Limits(secret, 200, http.Header{"Anthropic-Ratelimit-Requests-Limit": {"10"}, "Anthropic-Ratelimit-Requests-Remaining": {"5"}})
	if newHeadroom().hash(secret) == newHeadroom().hash(secret) {
		t.Error("the hash outlives the process")
	}
	hash := r.headroom.hash(secret)
	said, err := json.Marshal(r.headroom.read(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	r.Register(reg)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(said), fmt.Sprint(families)} {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", hash)) || text == "" {
			t.Errorf("it says %s", text)
		}
	}
}

func TestStreamsAreOldestFirst(t *testing.T) {
	var s Streams
	now := time.Now()
	var all []*Live
	for i := range 300 {
		all = append(all, s.Enter(fmt.Sprintf("req_%03d", i), "/v1/messages", "oauth", "upload", now.Add(-time.Duration(i)*time.Second)))
	}
	all[299].SetPhase("stream")
	all[299].SetCaller("laptop")
	all[299].AddSent(7)
	all[299].AddReceived(9, now.Add(-3*time.Second))
	list, total := s.read(now, StreamsShown)
	if total != 300 || len(list) != StreamsShown {
		t.Fatalf("%d of %d", len(list), total)
	}
	first := list[0]
	if first.ID != "req_299" || first.Phase != "stream" || first.Caller != "laptop" || first.Sent != 7 || first.Received != 9 || first.QuietSeconds == nil || *first.QuietSeconds != 3 {
		t.Errorf("the oldest is %+v", first)
	}
	if list[1].QuietSeconds != nil {
		t.Errorf("no byte came, yet %+v", list[1])
	}
	for _, l := range all {
		s.Leave(l)
	}
	if list, total := s.read(now, StreamsShown); total != 0 || len(list) != 0 {
		t.Errorf("%d are left", total)
	}
}
