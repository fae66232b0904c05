package headers

import (
	"net/http"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
)

func TestRequestTrailer(t *testing.T) {
	header := http.Header{"Connection": {"close, x-private"}}
	for _, tc := range []struct{ in, want http.Header }{
		{nil, nil},
		{http.Header{}, nil},
		{http.Header{"Via": {"x"}, "Tailscale-User": nil}, nil},
		{http.Header{"X-Sum": {"1"}, "X-Forwarded-For": {"1"}, "Te": {"x"}, "X-Private": nil}, http.Header{"X-Sum": nil}},
	} {
		if got := RequestTrailer(tc.in, header); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v: got %v, want %v", tc.in, got, tc.want)
		}
	}
}

// Whatever a client sends, nothing that belongs to the hop or tells about the
// tailnet goes on, our own headers do, and the client's map stays as it was.
func FuzzRequest(f *testing.F) {
	f.Add("close", "X-A", "1")
	f.Add("keep-alive, x-team ,, TE", "Te", "trailers")
	f.Add("authorization", "Authorization", "Bearer x")
	f.Add("upgrade", "Tailscale-User-Login", "a")
	f.Add("Anthropic-Beta", "Anthropic-Beta", "a,b")
	f.Fuzz(func(t *testing.T, connection, name, value string) {
		beta, err := NewRule(BetaName, OAuthMember, "")
		if err != nil {
			t.Fatal(err)
		}
		team, err := NewRule("x-team", "blue", "")
		if err != nil {
			t.Fatal(err)
		}
		if !isToken(name) {
			t.Skip("net/http refuses it")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		in := http.Header{"Connection": {connection}, "X-Kept": {"1"}}
		in[name] = append(in[name], value)
		before := in.Clone()
		out := Request(in, []Rule{beta, team})
		if !reflect.DeepEqual(in, before) {
			t.Errorf("the client's header became %v, was %v", in, before)
		}
		named := map[string]bool{}
		for _, line := range in["Connection"] {
			for member := range strings.SplitSeq(line, ",") {
				named[textproto.CanonicalMIMEHeaderKey(strings.Trim(member, " \t"))] = true
			}
		}
		for n := range out {
			ours := n == BetaName || n == "X-Team"
			if framing[n] || private[n] || strings.HasPrefix(n, "X-Forwarded-") || strings.HasPrefix(n, "Tailscale-") || !ours && named[n] {
				t.Errorf("%s went on, with Connection %q", n, connection)
			}
		}
		if !contains(out[BetaName], OAuthMember) || !reflect.DeepEqual(out["X-Team"], []string{"blue"}) {
			t.Errorf("our headers did not survive Connection %q: %v", connection, out)
		}
	})
}
