package proxy

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/testkit/standard"
	"anthropic-oauth-proxy/internal/upstream"
)

// beyondTheLibrary are the tests that the standard library's Transport does not
// pass in the engine's place, and why. specs/decisions.md has the same list.
var beyondTheLibrary = map[string]string{
	"TestUploadsAtTheDeadline":               "it waits for a body that nobody reads any more",
	"TestAnswerThenCloseUnread":              "an answer is lost behind a broken upload: 25 of 50",
	"TestGoodbyesLoseNothing":                "what a GOAWAY excludes is lost: 9 of 1,000",
	"TestLastWordsAreHeard":                  "nothing is read once a write has failed",
	"TestSwitchingProtocolsIsNeverPassedOn":  "over HTTP/2 a 101 is taken for an interim answer",
	"TestExpectContinue":                     "a refusal does not keep the content back",
	"TestRetriesAreExactlyTheDocumentedOnes": "REFUSED_STREAM and GOAWAY are not told apart from a broken connection",
	"TestUntrustedAPI":                       "the oracle does not sort what TLS fails with",
	"TestAStreamingBodyIsSentOnce":           "what was not processed is not told apart",
	"TestMalformedHTTP2Answers":              "frames on streams that were never opened are ignored",
	"TestTruncatedHTTP2Answers":              "content beyond its declared length passes",
	"TestTargets":                            "a target is not passed byte for byte",
	"TestAnswerHeadersOnTheWire":             "a Cache-Control is added to Pragma: no-cache",
	"TestRequestHeadersOnTheWire":            "lines are sorted, and names spelled anew",
	"TestForwardedRequests":                  "lines are sorted",
	"TestForwardedAnswers":                   "a field name that is none passes, and a 100 that nobody asked for does not",
	"TestSmugglingOverSockets":               "its connections outlive a bubble of time",
	"TestCredentialsAreNeverIndexed":         "they are indexed",
}

// oracles stand in the engine's place where the environment asks for one: make
// test-oracle.
var oracles = map[string]func(*url.URL, upstream.Options) *standard.Engine{"standard": standard.New, "conns": standard.NewConns}

func oracle(t testing.TB, o options) Upstream {
	asked := os.Getenv("UPSTREAM")
	make := oracles[asked]
	if make == nil {
		return nil
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	if why, ok := beyondTheLibrary[name]; ok {
		t.Skip(why)
	}
	if o.pipes {
		t.Skip("its connections outlive a bubble of time")
	}
	if asked == "conns" && o.frames {
		t.Skip("they speak HTTP/1.1 alone")
	}
	s := make(o.api, o.engine)
	t.Cleanup(s.Close)
	return s
}

// connections counts those to the API, of either protocol. The oracle does not
// tell.
func (r *rig) connections() (h1, h2 int) {
	r.t.Helper()
	pool, ok := r.handler.Upstream.(*upstream.Pool)
	if !ok {
		r.t.Skip("only the product's engine tells of its connections")
	}
	return pool.Connections()
}
