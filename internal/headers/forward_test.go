package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestTrailers(t *testing.T) {
	named := Named(Fields{{"connection", "close, x-PRIVATE"}})
	for _, tc := range []struct {
		in, request, answer []string
	}{
		{nil, nil, nil},
		{[]string{"via", "TAILSCALE-USER"}, nil, []string{"via", "TAILSCALE-USER"}},
		{[]string{"x-Sum", "x-forwarded-for", "TE", "x-API-key", "if-match", "X-Private", "X-B"}, []string{"x-Sum", "X-B"}, []string{"x-Sum", "x-forwarded-for", "X-B"}},
	} {
		in := Trailer{Names: tc.in}
		for _, name := range tc.in {
			in.Fields = append(in.Fields, Field{strings.ToUpper(name), "1"})
		}
		passed := func(out Trailer, want []string) bool {
			i := -1
			return slices.Equal(out.Names, want) && len(out.Fields) == len(want) && !slices.ContainsFunc(out.Fields, func(f Field) bool {
				i++
				return !Same(f.Name, want[i]) || f.Value != "1"
			})
		}
		if got := RequestTrailer(&in, named); (got == nil) != (tc.request == nil) || got != nil && !passed(*got, tc.request) {
			t.Errorf("%v: %v goes upstream, want %v", tc.in, got, tc.request)
		}
		if got := AnswerTrailer(&in, named); !passed(got, tc.answer) {
			t.Errorf("%v: %v comes back, want %v", tc.in, got, tc.answer)
		}
	}
	if RequestTrailer(nil, nil) != nil || len(AnswerTrailer(nil, nil).Names) > 0 {
		t.Error("there is a trailer of nothing")
	}
}

func TestResponse(t *testing.T) {
	got := Response(Fields{{"content-type", "a"}, {"CONNECTION", "x-hop, close"}, {"X-Hop", "1"}, {"Via", "2"}, {"keep-alive", "3"}, {"Set-Cookie", "4"}, {"set-cookie", "5"}})
	if want := (Fields{{"content-type", "a"}, {"Via", "2"}, {"Set-Cookie", "4"}, {"set-cookie", "5"}}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whatever a client sends, however it spells it, nothing that belongs to the
// hop or tells about the tailnet goes on, our own headers do, and so does all
// else, as it came.
func FuzzRequest(f *testing.F) {
	for n, tc := range [][3]string{
		{"close", "X-A", "1"}, {"keep-alive, x-team ,, TE", "Te", "trailers"}, {"authorization", "Authorization", "Bearer x"},
		{"upgrade", "Tailscale-User-Login", "a"}, {"Anthropic-Beta", "Anthropic-Beta", "a,b"}, {"close", "X-Forwarded-For", "1"},
		{"x-Kept", "X-Real-Ip", "1"}, {"HTTP2-Settings", "Http2-Settings", "1"}, {"close", "Host", "x"}, {"close", "Content-Length", "1"},
	} {
		for spelling := range 4 {
			f.Add(spelled(tc[0], n), spelled(tc[1], spelling), tc[2])
		}
	}
	beta, team := mustRule(f, BetaName, OAuthMember, ""), mustRule(f, "x-team", "blue", "")
	f.Fuzz(func(t *testing.T, connection, name, value string) {
		if !isToken(name) {
			t.Skip("no request has it")
		}
		in := Fields{{"x-kept", "1"}, {name, value}, {"CONNECTION", connection}, {"X-Kept", "2"}}
		out := Request(slices.Clone(in), []Rule{beta, team})
		named := map[string]bool{}
		for _, line := range []string{connection, in.Get("Connection")} {
			for member := range strings.SplitSeq(line, ",") {
				named[strings.ToLower(strings.Trim(member, " \t"))] = true
			}
		}
		ends := func(name string) bool {
			l := strings.ToLower(name)
			return kinds[http.CanonicalHeaderKey(l)]&(framing|written|private) != 0 || strings.HasPrefix(l, "x-forwarded-") || strings.HasPrefix(l, "tailscale-") || named[l]
		}
		for _, line := range out {
			ours := Same(line.Name, BetaName) || Same(line.Name, "X-Team")
			if !ours && ends(line.Name) {
				t.Errorf("%s went on, with Connection %q", line.Name, connection)
			}
		}
		for _, line := range in {
			if ours := Same(line.Name, BetaName) || Same(line.Name, "X-Team"); !ours && !ends(line.Name) && !slices.Contains(out, line) {
				t.Errorf("%v did not go on, with Connection %q", line, connection)
			}
		}
		if !lists(out.Values(BetaName), OAuthMember) || !slices.Equal(slices.Collect(out.Values("X-Team")), []string{"blue"}) {
			t.Errorf("our headers did not survive Connection %q: %v", connection, out)
		}
	})
}

// BenchmarkRequest is what the head of a real request costs on its way through.
func BenchmarkRequest(b *testing.B) {
	var in Fields
	for _, name := range []string{
		"accept", "anthropic-dangerous-direct-browser-access", "anthropic-version", "authorization", "content-type", "user-agent", "x-app",
		"x-stainless-arch", "x-stainless-helper-method", "x-stainless-lang", "x-stainless-os", "x-stainless-package-version",
		"x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-timeout", "accept-encoding", "content-length",
	} {
		in = append(in, Field{name, "v"})
	}
	in = append(in, Field{"connection", "keep-alive"}, Field{"anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"})
	rules := []Rule{mustRule(b, BetaName, OAuthMember, "")}
	own := make(Fields, 0, len(in)+1)
	b.ReportAllocs()
	for b.Loop() {
		Request(append(own[:0], in...), rules)
	}
}
