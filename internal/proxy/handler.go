// Package proxy is the data plane: it takes a client's request to the Claude
// API and streams the answer back, so that neither side can tell.
//
// The package holds the policy: what is added and stripped, how long each
// phase may take, what may be sent twice, which error a client sees. How bytes
// move is the business of package upstream, and who may enter that of
// admission. It never stores, logs or invents a credential, never changes a
// body, never follows a redirect, and never sends a request twice that may
// have been processed.
package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/upstream"
)

// Upstream is the engine that moves one attempt.
type Upstream interface {
	RoundTrip(ctx context.Context, req *upstream.Request) (*upstream.Response, error)
}

// Caller is who a tailnet connection comes from.
type Caller struct {
	Node string
	Tags []string
}

// Limits are the bounds of one request. All are positive.
type Limits struct {
	// HeaderTimeout is how long the API may take from the end of the upload to
	// the head of its answer, per attempt. A client's own x-stainless-timeout
	// counts when it is longer.
	HeaderTimeout time.Duration
	// IdleTimeout is how long either direction may stand still.
	IdleTimeout time.Duration
	// MaxBodyBytes is the size of the largest request body.
	MaxBodyBytes int64
}

// Options are what a Handler needs. All but Local and Identify are required;
// everything outlives the handler's last request.
type Options struct {
	Upstream Upstream
	Gate     *admission.Gate
	Rules    []headers.Rule
	Limits   Limits
	Metrics  *Metrics
	Log      zerolog.Logger
	// Local maps exact paths to the handlers of the proxy's own pages. Every
	// other path belongs to the API.
	Local map[string]http.Handler
	// Identify, when not nil, names the caller behind a connection. It must
	// return soon and is never called for a local page.
	Identify func(ctx context.Context, remoteAddr string) (Caller, bool)
}

// Handler serves the proxy port. It is safe for concurrent use.
type Handler struct {
	Options
	replay *budget
}

// replayBudget bounds the memory of read-ahead bodies in the whole process.
const replayBudget = 32 << 20

// New makes the handler.
func New(o Options) *Handler {
	h := &Handler{Options: o, replay: newBudget(replayBudget)}
	o.Metrics.WatchReplayBuffer(func() float64 { return float64(replayBudget - h.replay.left.Load()) })
	return h
}

// ServeHTTP serves one request. Like net/http's own proxy it panics with
// http.ErrAbortHandler to break a connection whose answer cannot be completed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := target(r)
	single := edge.OneLength(r)
	if local := h.Local[pathOf(to)]; ok && single && local != nil {
		local.ServeHTTP(w, r)
		return
	}
	x := newExchange(h, w, r, to)
	defer x.close()
	if !ok {
		x.refuse(badTarget(r.Method))
		return
	}
	if !single {
		x.refuse(twoLengths)
		return
	}
	x.serve()
}
