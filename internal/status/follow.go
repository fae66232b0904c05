package status

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/proxy"
)

// Recorder keeps what the data plane tells, in bounded memory: it follows every
// exchange (see [proxy.Follower]). Its methods may be called from any goroutine;
// of who reads they wait for nobody but who copies the few streams that are shown.
type Recorder struct {
	window   window
	clients  clients
	headroom *headroom
	streams  streams
	ends     map[StreamEnd]prometheus.Counter
	betas    map[BetaAction]prometheus.Counter
	beta     []headers.Rule // those about anthropic-beta
	log      zerolog.Logger
	warned   atomic.Int64 // of placeholders, in nanoseconds since 1970
}

// BetaAction is what the rules do to a request's anthropic-beta. The set is
// closed: it is a metric label.
type BetaAction string

// The actions.
const (
	BetaAdded    BetaAction = "added"    // there was none
	BetaAppended BetaAction = "appended" // it lacked the member
	BetaReplaced BetaAction = "replaced" // a rule of mode "set"
	BetaPresent  BetaAction = "present"  // nothing was to do
	BetaOff      BetaAction = "off"      // no rule speaks of it
)

// BetaActions lists every action once.
var BetaActions = []BetaAction{BetaAdded, BetaAppended, BetaReplaced, BetaPresent, BetaOff}

// NewRecorder makes an empty recorder and registers its metrics. rules are those
// that the data plane applies.
func NewRecorder(reg prometheus.Registerer, rules []headers.Rule, log zerolog.Logger) *Recorder {
	r := &Recorder{headroom: newHeadroom(), log: log}
	for _, rule := range rules {
		if rule.Name() == headers.BetaName {
			r.beta = append(r.beta, rule)
		}
	}
	r.ends = closedSet(reg, "proxy_streams_total", "Event streams by how they ended; unseen: compressed, nobody looked.", "end", StreamEnds)
	r.betas = closedSet(reg, "proxy_beta_header_total", "Requests by what was done to their anthropic-beta.", "action", BetaActions)
	reg.MustRegister(&r.clients, r.headroom)
	return r
}

// closedSet makes a counter for every member, so that each series exists from
// the start.
func closedSet[L ~string](reg prometheus.Registerer, name, help, label string, members []L) map[L]prometheus.Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	reg.MustRegister(vec)
	set := make(map[L]prometheus.Counter, len(members))
	for _, m := range members {
		set[m] = vec.WithLabelValues(string(m))
	}
	return set
}

// Reads names the fields of which something is kept: a keyed hash, a number; of
// a value itself nothing is.
func (r *Recorder) Reads() proxy.Reads {
	return proxy.Reads{
		Request: []string{"Authorization", "X-Api-Key", headers.BetaName},
		Answer:  []string{"Content-Type", "Content-Encoding", "Retry-After", limitPrefix + "*"},
	}
}

// Follow begins to follow an exchange.
func (r *Recorder) Follow(live *proxy.Live, request proxy.Fields) proxy.Tap {
	now := time.Now()
	r.window.begin(now)
	r.betas[r.betaAction(request)].Inc()
	t := &tap{recorder: r, flight: flight{live: live}, credential: request.Get("X-Api-Key")}
	r.streams.enter(&t.flight)
	if t.credential == "" {
		t.credential = request.Get("Authorization")
	}
	return t
}

func (r *Recorder) betaAction(request proxy.Fields) BetaAction {
	if len(r.beta) == 0 {
		return BetaOff
	}
	var was headers.Fields
	for name, value := range request.All() {
		if headers.Same(name, headers.BetaName) {
			was = append(was, headers.Field{Name: name, Value: value})
		}
	}
	return betaAction(r.beta, was)
}

// tap follows one exchange. It belongs to the goroutine that serves it.
type tap struct {
	recorder   *Recorder
	flight     flight
	credential string // until the answer's head has come
	stream     bool   // of server-sent events
	seen       bool   // not compressed
	names      eventNames
}

// Answered looks at the head of the API's answer.
func (t *tap) Answered(status int, answer proxy.Fields) {
	t.stream = strings.HasPrefix(strings.ToLower(answer.Get("Content-Type")), "text/event-stream")
	t.seen = t.stream && answer.Get("Content-Encoding") == ""
	t.recorder.headroom.note(time.Now(), t.credential, status, answer)
	t.credential = ""
}

// Chunk reads the names of the events.
func (t *tap) Chunk(p []byte) {
	if t.seen {
		t.names.read(p)
	}
}

// Ended counts the end.
func (t *tap) Ended(rec *proxy.Record) {
	r, now := t.recorder, time.Now()
	r.streams.leave(&t.flight)
	e := Ending{
		ID: rec.ID, UpstreamID: rec.UpstreamID, Answer: rec.UpstreamStatus, Whole: rec.Outcome == proxy.Completed, By: rec.By, Client: rec.Client,
		Silent:      rec.Outcome == proxy.IdleTimeout && rec.By == proxy.ByUpstream,
		Placeholder: rec.Credential == proxy.CredentialPlaceholder, Overhead: rec.Overhead, Stream: t.end(rec),
	}
	if rec.UpstreamStatus != 0 {
		e.FirstByte = rec.FirstByte
	}
	r.window.end(now, e)
	r.clients.count(now, e.Client, classOf(e.Answer))
	if e.Stream != "" {
		r.ends[e.Stream].Inc()
	}
	if e.Placeholder {
		r.warn(now)
	}
}

// end says how an event stream ended; it is empty for any other answer. Whoever
// had the last word has it whole, whatever became of the connection.
func (t *tap) end(rec *proxy.Record) StreamEnd {
	switch {
	case !t.stream || rec.UpstreamStatus == 0:
		return ""
	case t.names.last != "":
		return t.names.last
	}
	switch rec.Outcome {
	case proxy.Completed:
		if !t.seen {
			return StreamUnseen
		}
		return StreamUnfinished
	case proxy.Drained:
		return StreamDrained
	case proxy.IdleTimeout:
		if rec.By != proxy.ByClient {
			return StreamSilence
		}
	case proxy.UpstreamCut, proxy.UpstreamError:
		return StreamCut
	}
	return StreamLeft
}

// warnPause is the least time between two warnings of placeholders.
const warnPause = time.Minute

// warn says what a placeholder means, now and then.
func (r *Recorder) warn(now time.Time) {
	was := r.warned.Load()
	if now.UnixNano()-was < int64(warnPause) || !r.warned.CompareAndSwap(was, now.UnixNano()) {
		return
	}
	r.log.Warn().Str("event", "placeholder_credential").
		Str("remedy", placeholderRemedy).
		Msg("requests come with a placeholder in place of a credential; the API refuses them")
}

// placeholderRemedy is what helps against placeholders.
const placeholderRemedy = "In the gateway in front, set auth_mode = \"passthrough\" and no apikey; in the client, remove apiKeyHelper and " +
	"ANTHROPIC_AUTH_TOKEN = \"-\", so that it sends its own token."
