package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/proxy"
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
	if got := tr.PerSecond; got != 2/(55*time.Second).Seconds() { // five whole steps, and half of one
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
	r := NewRecorder(prometheus.NewRegistry(), nil, zerolog.Nop())
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 500 {
				now, client := time.Now(), fmt.Sprintf("claude-cli/1.%d.%d", n, i)
				r.window.begin(now)
				here := &flight{live: new(proxy.Live)}
				r.streams.enter(here)
				r.headroom.note(now, fmt.Sprint(n, i), 200, shown(headers.Field{Name: "Anthropic-Ratelimit-Unified-5h-Utilization", Value: "0.5"}))
				r.streams.leave(here)
				r.window.end(now, Ending{Answer: 200, Whole: true, Client: client})
				r.clients.count(now, client, 0)
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
	if n := len(r.streams.read(now, StreamsShown)); n != 0 {
		t.Errorf("%d streams are left", n)
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

// shown is a header of which all is shown.
func shown(lines ...headers.Field) proxy.Fields { return proxy.Show(lines, []string{"*"}) }

func TestHeadroom(t *testing.T) {
	h := newHeadroom()
	note := func(credential string, status int, lines ...string) {
		var said []headers.Field
		for i := 0; i < len(lines); i += 2 {
			said = append(said, headers.Field{Name: lines[i], Value: lines[i+1]})
		}
		h.note(noon, credential, status, shown(said...))
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
	reg := prometheus.NewRegistry()
	r := NewRecorder(reg, nil, zerolog.Nop())
	r.headroom.note(time.Now(), secret, 200, shown(headers.Field{Name: "Anthropic-Ratelimit-Requests-Limit", Value: "10"}, headers.Field{Name: "anthropic-ratelimit-requests-remaining", Value: "5"}))
	if one, other := newHeadroom(), newHeadroom(); one.hash(secret) == other.hash(secret) {
		t.Error("the hash outlives the process")
	}
	hash := r.headroom.hash(secret)
	said, err := json.Marshal(r.headroom.read(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
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

func TestTheTableOfStreams(t *testing.T) {
	var s streams
	all := make([]*flight, 300)
	for i := range all {
		all[i] = &flight{live: new(proxy.Live)}
		s.enter(all[i])
	}
	shown := func(what string, want []*flight) {
		t.Helper()
		lives := make([]*proxy.Live, len(want))
		for i, p := range want {
			lives[i] = p.live
		}
		if !slices.Equal(s.oldest(StreamsShown), lives) {
			t.Fatalf("%s: others than the oldest are listed", what)
		}
	}
	shown("all are there", all[:StreamsShown])
	for _, i := range []int{150, 298, 0} { // amid, last and first
		s.leave(all[i])
		all = slices.Delete(all, i, i+1)
	}
	shown("three have left", all[:StreamsShown])
	late := &flight{live: new(proxy.Live)}
	s.enter(late)
	for _, p := range all {
		s.leave(p)
	}
	shown("one came late", []*flight{late})
	s.leave(late)
	if list := s.read(noon, StreamsShown); len(list) != 0 {
		t.Errorf("%d are left", len(list))
	}
}

func TestViewOfARecord(t *testing.T) {
	r := &proxy.Record{ID: "req_1", Phase: proxy.InStream, Path: "/v1/messages", Credential: proxy.CredentialOAuth, Caller: proxy.Caller{Node: "laptop"},
		Accepted: noon.Add(-time.Minute), RequestBytes: 7, ResponseBytes: 9, Head: 50 * time.Second, LastByte: 57 * time.Second}
	v := view(r, noon)
	if v.ID != "req_1" || v.Phase != "stream" || v.Caller != "laptop" || v.Sent != 7 || v.Received != 9 || v.AgeSeconds != 60 || v.QuietSeconds == nil || *v.QuietSeconds != 3 {
		t.Errorf("it is shown as %+v", v)
	}
	if r.LastByte = 0; *view(r, noon).QuietSeconds != 10 {
		t.Error("silence behind a head is not counted from it")
	}
	if r.Head = 0; view(r, noon).QuietSeconds != nil {
		t.Error("before the head nothing is silent")
	}
}

func TestEventNames(t *testing.T) {
	const delta = "event: content_block_delta\ndata: {\"event: message_stop\": 1}\n\n"
	for _, tc := range []struct {
		stream string
		want   StreamEnd
	}{
		{"", ""},
		{delta, ""},
		{delta + "event: message_stop\ndata: {}\n\n", StreamStop},
		{delta + "event:message_stop\r\ndata: {}\r\n\r\n", StreamStop},
		{delta + "event: error\ndata: {}\n\n", StreamError},
		{delta + "event: message_stop\n\nevent: error\n\n", StreamStop},
		{delta + "event: message_stop", ""},
		{": event: message_stop\n\n", ""},
		{"event: message_stop_and_more\n\n", ""},
		{"event: error_and_more_than_fits\n\n", ""},
		{"data: x\nevent: message_stop\n\n", StreamStop},
		{"events: message_stop\nevent\nevent: ping\n\n", ""},
	} {
		for piece := 1; piece <= len(tc.stream)+1; piece++ {
			var names eventNames
			for rest := []byte(tc.stream); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				names.read(rest[:min(piece, len(rest))])
			}
			if names.last != tc.want {
				t.Errorf("%q in pieces of %d: %q, want %q", tc.stream, piece, names.last, tc.want)
			}
		}
	}
}

func TestStreamEnds(t *testing.T) {
	for _, tc := range []struct {
		tap  tap
		rec  proxy.Record
		want StreamEnd
	}{
		{tap{}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Completed}, ""},
		{tap{stream: true}, proxy.Record{Outcome: proxy.UpstreamError}, ""},
		{tap{stream: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Completed}, StreamUnseen},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Completed}, StreamUnfinished},
		{tap{stream: true, seen: true, names: eventNames{last: StreamStop}}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Completed}, StreamStop},
		{tap{stream: true, seen: true, names: eventNames{last: StreamStop}}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.ClientGone}, StreamStop},
		{tap{stream: true, seen: true, names: eventNames{last: StreamError}}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Completed}, StreamError},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.UpstreamCut}, StreamCut},
		{tap{stream: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.UpstreamCut}, StreamCut},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.IdleTimeout, By: proxy.ByUpstream}, StreamSilence},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.IdleTimeout, By: proxy.ByClient}, StreamLeft},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.ClientGone, By: proxy.ByClient}, StreamLeft},
		{tap{stream: true, seen: true}, proxy.Record{UpstreamStatus: 200, Outcome: proxy.Drained, By: proxy.ByProxy}, StreamDrained},
	} {
		if got := tc.tap.end(&tc.rec); got != tc.want {
			t.Errorf("%+v with %+v: %q, want %q", tc.tap.names, tc.rec.Outcome, got, tc.want)
		}
	}
}

func TestBetaActions(t *testing.T) {
	rule := func(value, mode string) headers.Rule {
		r, err := headers.NewRule(headers.BetaName, value, mode)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	merge, set := []headers.Rule{rule("oauth-2025-04-20", "merge")}, []headers.Rule{rule("oauth-2025-04-20", "set")}
	for _, tc := range []struct {
		rules []headers.Rule
		was   []string
		want  BetaAction
	}{
		{merge, nil, BetaAdded},
		{merge, []string{"a,b"}, BetaAppended},
		{merge, []string{"a, oauth-2025-04-20"}, BetaPresent},
		{set, []string{"a"}, BetaReplaced},
		{set, []string{"oauth-2025-04-20"}, BetaPresent},
	} {
		var was headers.Fields
		for _, line := range tc.was {
			was = append(was, headers.Field{Name: "anthropic-beta", Value: line})
		}
		before := slices.Clone(was)
		if got := betaAction(tc.rules, was); got != tc.want || !slices.Equal(was, before) {
			t.Errorf("%v with %v: %q, want %q", tc.was, tc.rules, got, tc.want)
		}
	}
}

// Placeholders are warned of at most once a minute.
func TestPlaceholderWarnings(t *testing.T) {
	var said bytes.Buffer
	r := NewRecorder(prometheus.NewRegistry(), nil, zerolog.New(&said))
	for i := range 240 {
		r.warn(noon.Add(time.Duration(i) * time.Second))
	}
	if n := strings.Count(said.String(), `"event":"placeholder_credential"`); n != 4 {
		t.Errorf("in four minutes there are %d warnings", n)
	}
}

// BenchmarkEventNames is the tap's whole work for one chunk of a stream.
// What an answer to a subscription costs for what is told of its limits.
func BenchmarkHeadroom(b *testing.B) {
	h := newHeadroom()
	var answer []headers.Field
	for _, f := range [][2]string{
		{"Status", "allowed"}, {"5h-Status", "allowed"}, {"5h-Reset", "4102444800"}, {"5h-Utilization", "0.17"},
		{"7d-Status", "allowed"}, {"7d-Reset", "4102531200"}, {"7d-Utilization", "0.29"}, {"Representative-Claim", "five_hour"},
		{"Fallback-Percentage", "0.5"}, {"Reset", "4102444800"}, {"Overage-Status", "rejected"}, {"Overage-Disabled-Reason", "org_level_disabled"},
	} {
		answer = append(answer, headers.Field{Name: "Anthropic-Ratelimit-Unified-" + f[0], Value: f[1]})
	}
	said := shown(answer...)
	b.ReportAllocs()
	for b.Loop() {
		h.note(noon, "Bearer sk-ant-oat01-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 200, said)
	}
}

func BenchmarkEventNames(b *testing.B) {
	chunk := []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello, how are you\"}}\n\n")
	b.SetBytes(int64(len(chunk)))
	t := tap{stream: true, seen: true}
	for b.Loop() {
		t.Chunk(chunk)
	}
}
