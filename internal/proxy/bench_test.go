package proxy

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

var benchHead = headers.Fields{
	{Name: "Accept", Value: "application/json"}, {Name: "Content-Type", Value: "application/json"},
	{Name: "User-Agent", Value: "claude-cli/2.1.197 (external, cli)"},
	{Name: "Authorization", Value: "Bearer sk-ant-oat01-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{Name: "Anthropic-Beta", Value: "claude-code-20250219,oauth-2025-04-20"}, {Name: "Anthropic-Version", Value: "2023-06-01"},
}

// What the record of a request costs: it is begun with what the head says of
// who asks, and the line wants to know that too.
func BenchmarkLive(b *testing.B) {
	keys := newLineKeys()
	b.ReportAllocs()
	for b.Loop() {
		newLive("POST", "/v1/messages?beta=true", benchHead)
		keys.stranger(benchHead, nil)
	}
}

// content is there at once, on either side.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }
func (content) Whole() bool  { return true }
func (content) Ready() bool  { return true }

// asker is a client that takes everything at once.
type asker struct {
	edge.Client
	request edge.Request
}

func (a *asker) Request() *edge.Request         { return &a.request }
func (*asker) Peer() string                     { return "127.0.0.1:1" }
func (*asker) Context() context.Context         { return context.Background() }
func (*asker) AtEnd(func())                     {}
func (*asker) Respond(edge.Head)                {}
func (*asker) Write(p []byte) (int, error)      { return len(p), nil }
func (*asker) Flush() error                     { return nil }
func (*asker) Finish(headers.Fields) error      { return nil }
func (*asker) SetWriteDeadline(time.Time) error { return nil }
func (*asker) Abort()                           {}
func (*asker) End(error)                        {}

// prompt is an API that answers at once.
type prompt struct{ answer headers.Fields }

func (p prompt) RoundTrip(_ context.Context, req *upstream.Request) (*upstream.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	_ = req.Body.Close()
	return &upstream.Response{Status: 200, Header: append(make(headers.Fields, 0, len(p.answer)+1), p.answer...), ContentLength: 800,
		Body: content{bytes.NewReader(make([]byte, 800))}}, nil
}

// What the policy costs between a client and an API that cost next to nothing:
// the budget of allocations for a request.
func BenchmarkExchange(b *testing.B) {
	api := prompt{headers.Fields{{Name: "Content-Type", Value: "application/json"}, {Name: "Request-Id", Value: "req_1"}, {Name: "Server", Value: "x"}}}
	h := New(Options{
		Upstream: api, Gate: admission.NewGate(10, 0), Metrics: NewMetrics(prometheus.NewRegistry(), 10), Log: zerolog.New(io.Discard),
		Limits: Limits{HeaderTimeout: time.Minute, IdleTimeout: time.Minute, MaxBodyBytes: 1 << 20},
	})
	body := make([]byte, 1600)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeExchange(&asker{request: edge.Request{
			Method: "POST", Target: "/v1/messages?beta=true", Proto: edge.HTTP11, Header: append(make(headers.Fields, 0, len(benchHead)+1), benchHead...),
			ContentLength: int64(len(body)), Body: content{bytes.NewReader(body)},
		}})
	}
}
