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

// leaver is an asker that has left when its answer is to be finished.
type leaver struct{ asker }

func (*leaver) Finish(headers.Fields) error { return edge.ErrGone }

// bodied is an API whose every answer has this content and declares that.
type bodied struct {
	content  int
	declared int64
}

func (b bodied) RoundTrip(context.Context, *upstream.Request) (*upstream.Response, error) {
	return &upstream.Response{Status: 200, ContentLength: b.declared, Body: content{bytes.NewReader(make([]byte, b.content))}}, nil
}

type recordSink struct{ got *Record }

func (s *recordSink) Ended(r *Record) { s.got = r }

// Who leaves at the very end has an answer whose declared content it took before
// that, and no other: without content the head was still to be written.
func TestWhoLeavesAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		api    bodied
		method string
		want   Outcome
	}{
		"all of it was taken":       {bodied{800, 800}, "GET", Completed},
		"no content":                {bodied{0, 0}, "GET", ClientGone},
		"no content of HEAD":        {bodied{0, 800}, "HEAD", ClientGone},
		"content of unknown length": {bodied{800, -1}, "GET", ClientGone},
		"nothing of unknown length": {bodied{0, -1}, "GET", ClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &recordSink{}
			h := New(Options{
				Upstream: c.api, Gate: admission.NewGate(10, 0), Metrics: NewMetrics(prometheus.NewRegistry(), 10), Log: zerolog.New(io.Discard),
				Limits: Limits{HeaderTimeout: time.Minute, IdleTimeout: time.Minute, MaxBodyBytes: 1 << 20}, Sinks: []Sink{sink},
			})
			h.ServeExchange(&leaver{asker{request: edge.Request{Method: c.method, Target: "/v1/models", Proto: edge.HTTP11}}})
			if sink.got == nil || sink.got.Outcome != c.want {
				t.Errorf("recorded %+v, want %s", sink.got, c.want)
			}
		})
	}
}
