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
	Identify func(edge.Client) (Caller, bool)
	// TailnetLost, when not nil, says that clients cannot be reached now, so that
	// one that is lost is not to blame for it.
	TailnetLost func() bool
	// Sinks take the records of what has ended, Followers look on while it runs.
	Sinks     []Sink
	Followers []Follower
}

// Handler serves the proxy port. It is safe for concurrent use.
type Handler struct {
	Options
	clock    *clock
	replay   *budget
	line     lineKeys
	sinks    []Sink
	watchers []watcher
}

// replayBudget bounds the memory of read-ahead bodies in the whole process.
const replayBudget = 32 << 20

// New makes the handler.
func New(o Options) *Handler {
	h := &Handler{Options: o, clock: newClock(), replay: newBudget(replayBudget), line: newLineKeys()}
	h.sinks = append([]Sink{o.Metrics, accessLog{o.Log}}, o.Sinks...)
	for _, f := range o.Followers {
		h.watchers = append(h.watchers, watcher{f, f.Reads()})
	}
	o.Metrics.WatchReplayBuffer(func() float64 { return float64(h.replay.taken()) })
	return h
}
