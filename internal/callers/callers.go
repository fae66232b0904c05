// Package callers names the tailnet node behind a connection, for the access
// log. It is evidence, never permission: whoever cannot be named is served the
// same.
//
// Asking is not free. For a loopback caller that is not from the tailnet,
// tailscaled searches for 180 ms with its main lock held, so the questions are
// rationed: one per connection, one at a time in the whole process, none for a
// moment after a miss, and never longer than [Budget]. A question that cannot
// be asked now is skipped, not queued; the connection's next request asks again.
package callers

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/client/tailscale/apitype"

	"anthropic-oauth-proxy/internal/edge"
)

// Budget is the longest that a request waits to learn its caller's name. The
// usual answer takes half a millisecond.
const Budget = 250 * time.Millisecond

// missPause spares tailscaled's lock after a question that found nobody.
const missPause = time.Second

// Whoser is the one call of tailscaled's LocalAPI that this needs.
type Whoser interface {
	// WhoIs names the node behind an open TCP connection; nil without an error
	// means that tailscaled knows nobody there.
	WhoIs(ctx context.Context, remoteAddr string) (*apitype.WhoIsResponse, error)
}

// Caller is a node of the tailnet.
type Caller struct {
	Node string   // its MagicDNS short name
	Tags []string // its ACL tags, or none; read-only
}

// Identifier answers who is calling. It is safe for concurrent use and starts
// no goroutine. A nil Identifier knows nobody.
type Identifier struct {
	who  Whoser
	busy sync.Mutex   // held by the one question in flight
	rest atomic.Int64 // no question before this time, in nanoseconds since 1970
}

// New makes an identifier that asks who.
func New(who Whoser) *Identifier { return &Identifier{who: who} }

// memory is what is known of one connection; it dies with the connection, so
// there is nothing to evict.
type memory struct {
	mu     sync.Mutex
	asked  bool
	caller Caller
	found  bool
}

// Lookup names the caller at the other end of a connection, whose address, an
// "ip:port", peer says to who has to ask. ctx is the request's, from a server of
// package edge; without it nothing is asked. Call it for proxied requests only,
// never for probes or scrapes. It blocks for [Budget] at most, and for nothing
// once the caller is known.
func (i *Identifier) Lookup(ctx context.Context, peer func() string) (Caller, bool) {
	if i == nil {
		return Caller{}, false
	}
	m := edge.Memory[memory](ctx)
	// Requests of one HTTP/2 connection run side by side: the second one does
	// not wait for the first one's answer.
	if m == nil || !m.mu.TryLock() {
		return Caller{}, false
	}
	defer m.mu.Unlock()
	if !m.asked {
		m.caller, m.found, m.asked = i.ask(ctx, peer)
	}
	return m.caller, m.found
}

// ask puts the question if it may be put now. asked is false when it was
// skipped or got no answer, so that it is worth another try.
func (i *Identifier) ask(ctx context.Context, peer func() string) (c Caller, found, asked bool) {
	if time.Now().UnixNano() < i.rest.Load() || !i.busy.TryLock() {
		return Caller{}, false, false
	}
	defer i.busy.Unlock()
	ctx, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	res, err := i.who.WhoIs(ctx, peer())
	if err == nil && res != nil && res.Node != nil {
		return Caller{Node: res.Node.ComputedName, Tags: res.Node.Tags}, true, true
	}
	i.rest.Store(time.Now().Add(missPause).UnixNano())
	// Nobody of that address is an answer; anything else is not.
	return Caller{}, false, err == nil
}
