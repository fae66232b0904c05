package proxy

import (
	"bytes"
	"context"
	"testing"

	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// leaver is an asker that has left when its answer is to be finished.
type leaver struct{ asker }

func (*leaver) Finish(headers.Fields) error { return edge.ErrGone }

// Who leaves at the very end has an answer whose declared content it took before
// that, and no other: without content the head was still to be written.
func TestWhoLeavesAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		method   string
		content  int
		declared int64
		want     Outcome
	}{
		"all of it was taken":       {"GET", 800, 800, Completed},
		"no content":                {"GET", 0, 0, ClientGone},
		"no content of HEAD":        {"HEAD", 0, 800, ClientGone},
		"content of unknown length": {"GET", 800, -1, ClientGone},
		"nothing of unknown length": {"GET", 0, -1, ClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{other: engineFunc(func(context.Context, *upstream.Request) (*upstream.Response, error) {
				return &upstream.Response{Status: 200, ContentLength: c.declared, Body: content{bytes.NewReader(make([]byte, c.content))}}, nil
			})})
			r.handler.ServeExchange(&leaver{asker{request: edge.Request{Method: c.method, Target: "/v1/models", Proto: edge.HTTP11}}})
			if rec := r.record(); rec.Outcome != string(c.want) {
				t.Errorf("recorded %+v, want %s", rec, c.want)
			}
		})
	}
}
