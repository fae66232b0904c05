package status

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func pageOf(t *testing.T, s Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.WritePage(&b, []string{"/health"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The policy names what the page really holds, and the page needs nothing else.
func TestContentSecurityPolicyFitsThePage(t *testing.T) {
	page := pageOf(t, well())
	for _, kind := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<`+kind+`>(.*?)</`+kind+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 || !strings.Contains(ContentSecurityPolicy, kind+"-src "+hashOf(found[0][1])) {
			t.Errorf("%d of <%s>; the policy is %s", len(found), kind, ContentSecurityPolicy)
		}
	}
	for _, banned := range []string{` style="`, " onclick", " onload", "javascript:", "http://", "https://"} {
		rest := strings.NewReplacer("http://www.w3.org/2000/svg", "", "https://api.anthropic.com", "").Replace(page)
		if strings.Contains(rest, banned) {
			t.Errorf("the page holds %q", banned)
		}
	}
}

// What others wrote is text, wherever it stands.
func TestThePageEscapes(t *testing.T) {
	s := well()
	const evil = `"><script>alert(1)</script>`
	s.Service.Version, s.Service.Instance, s.Tailnet.Hostname, s.Tailnet.Detail = evil, evil, evil, evil
	s.Streams[0].Path, s.Streams[0].ID, s.Streams[0].Caller = evil, evil, evil
	s.Journal[0].Why = evil
	s.Tree[0].Services[0].Causes = []Cause{{At: noon, Kind: "panic", Text: evil}}
	s.Verdict = Judge(s)
	if page := pageOf(t, s); strings.Count(page, "<script") != 1 {
		t.Errorf("a script got in:\n%s", page)
	}
	event, err := s.event()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(event, []byte("<script")) || bytes.Count(event, []byte("\n")) != 3 {
		t.Errorf("the feed holds a script, or more than one line of data:\n%s", event)
	}
	var text strings.Builder
	s.Tailnet.Detail = "\x1b]0;evil\x07\u009b2J"
	if err := s.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\x07\u009b") {
		t.Errorf("a terminal is steered by %q", text.String())
	}
}

// The page and the terminal say the same: each sentence, each cell.
func TestThePageAndTheTerminalAgree(t *testing.T) {
	for _, tc := range verdicts {
		s := well()
		tc.spoil(&s)
		s.Verdict = Judge(s)
		var plain, coloured strings.Builder
		if err := s.WriteText(&plain, false); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteText(&coloured, true); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[1;") {
			t.Errorf("%s: colours are wrong:\n%q", tc.name, plain.String())
		}
		page := unescaped(pageOf(t, s))
		want := []string{s.Verdict.Headline, s.Verdict.Detail, s.Verdict.Next, s.Verdict.Runbook}
		for _, table := range s.Tables() {
			for _, row := range table.Rows {
				for _, cell := range row {
					want = append(want, cell.Text)
				}
			}
		}
		for _, f := range s.Figures() {
			want = append(want, f.Value, f.Note)
		}
		for _, text := range want {
			if !strings.Contains(page, text) || !strings.Contains(plain.String(), text) {
				t.Errorf("%s: %q is missing on the page (%t) or in the terminal (%t)", tc.name, text, strings.Contains(page, text), strings.Contains(plain.String(), text))
			}
		}
	}
}

func unescaped(page string) string {
	return strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&#43;", "+", "&amp;", "&").Replace(page)
}

// Every table and figure has a name for who cannot see it.
func TestThePageHasNames(t *testing.T) {
	s := well()
	s.Drain = &Drain{By: noon, Left: 1}
	page := pageOf(t, s)
	for _, part := range []string{"drain", "tree", "journal", "tailnet", "api", "clients", "streams"} {
		if !strings.Contains(page, `aria-labelledby="h-`+part+`"`) || !strings.Contains(page, `<h2 id="h-`+part+`">`) {
			t.Errorf("the panel %s has no name", part)
		}
	}
	if n := strings.Count(page, `role="img" aria-label="`); n != 4 {
		t.Errorf("%d plots are described", n)
	}
	if strings.Contains(page, `id="drain" aria-labelledby="h-drain" hidden`) {
		t.Error("the drain is hidden")
	}
}

// The JSON is a contract: it comes back as it went.
func TestTheSnapshotSurvivesJSON(t *testing.T) {
	s := well()
	s.Verdict = Judge(s)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	var here, there strings.Builder
	if err := s.WriteText(&here, true); err != nil {
		t.Fatal(err)
	}
	if err := back.WriteText(&there, true); err != nil {
		t.Fatal(err)
	}
	if here.String() != there.String() {
		t.Errorf("here:\n%s\nthere:\n%s", here.String(), there.String())
	}
}

// One Snapshot serves all who look, as many as may; the end of the feed ends
// them all.
func TestFeed(t *testing.T) {
	taken := make(chan struct{}, 1000)
	f := NewFeed(func() Snapshot {
		taken <- struct{}{}
		s := well()
		s.At = time.Now()
		return s
	})
	server := httptest.NewServer(f)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	look := func() *http.Response {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var viewers []*http.Response
	for range MostViewers {
		res := look()
		defer res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("a viewer gets %d %v", res.StatusCode, res.Header)
		}
		viewers = append(viewers, res)
	}
	for _, res := range viewers {
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for _, want := range []string{"event: snapshot", "data: {", ""} {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
				t.Fatalf("the feed says %q (%v), want %q", lines.Text(), lines.Err(), want)
			}
		}
	}
	one := look()
	one.Body.Close()
	if one.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many gets %d", one.StatusCode)
	}
	if n := len(taken); n >= MostViewers {
		t.Errorf("%d snapshots for %d viewers' first look", n, MostViewers)
	}
	f.Close()
	f.Close()
	for _, res := range viewers {
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("a viewer is cut: %v", err)
		}
	}
}
