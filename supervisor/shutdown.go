package supervisor

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/edge"
	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/messages"
)

// The clocks of the end, in the order in which they run. Whatever kills the
// process from outside must wait for their sum; a test adds them up.
const (
	// DeliveryPatience is how long a signal may take until the state shows it. It
	// is above any pause between two lives of the conductor.
	DeliveryPatience = 5 * time.Second
	// here runs drain_timeout_secs

	// drainGrace is the lifecycle's patience with the drain's report. It covers
	// the time in which ended requests leave, and a restart of the drain actor.
	drainGrace = 5 * time.Second
	// cutPatience is how long requests that were ended may take to leave by
	// themselves. Then their connections are cut: one that is blocked in a write
	// must not outlive the deadline.
	cutPatience = 500 * time.Millisecond // within drainGrace
	// farewell is how long the connections of finished answers may take to flush.
	farewell = time.Second
	// stopTimeout is how long the tree waits for a service that does not stop.
	stopTimeout = 5 * time.Second
	// adminFarewell is how long the admin pages may take to reach whoever asked.
	adminFarewell = time.Second
	// logFlush is how long the last log lines, and the last words on stderr, may
	// take to be written.
	logFlush = 2 * telemetry.FlushPatience
)

// Takedown is the longest time from the end of the lifecycle to the end of the
// process.
const Takedown = farewell + stopTimeout + adminFarewell + logFlush

// door is where the data plane's gate is closed and its requests are ended: the
// one place. It follows the wishes themselves and not an actor, which may be
// dead when it matters. It is safe for concurrent use.
type door struct {
	desired *messages.Latest[messages.Desired]
	gate    *admission.Gate
	edge    *edge.Server
	log     zerolog.Logger

	cut atomic.Int64 // requests that were ended
}

// follow closes the door as soon as a drain or the end is wished, and keeps the
// drain's deadline. It returns when there is nothing left to keep, or with ctx.
func (d *door) follow(ctx context.Context) {
	want, err := d.desired.Await(ctx, func(w messages.Desired) bool { return w.Drain || w.Stop })
	if err != nil {
		return
	}
	d.close()
	if !want.Drain || d.idleWithin(ctx, time.Until(want.DrainBy)) {
		return
	}
	oldest := d.gate.Load().Oldest
	d.log.Info().Str("event", "drain").Str("stage", "deadline").Int("streams", d.end()).Int64("oldest_ms", oldest.Milliseconds()).
		Msg("drain deadline: the streams that are left are ended")
	if !d.idleWithin(ctx, cutPatience) {
		d.edge.Close()
	}
}

// idleWithin reports whether nothing is in flight any more, or ctx ended,
// within the time.
func (d *door) idleWithin(ctx context.Context, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-d.gate.Idle():
		return true
	case <-ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

// close refuses new requests and closes the listening socket and every
// connection without a request. Closing twice is fine.
func (d *door) close() {
	d.gate.Close()
	d.edge.CloseDoor()
}

// end ends every request in flight and returns how many this call has ended.
func (d *door) end() int {
	n := d.gate.End(proxy.ErrDrained)
	d.cut.Add(int64(n))
	return n
}

// hangUp ends what a drain left, or everything when there was none, and closes
// the proxy port. It returns how many requests it ended.
func (d *door) hangUp() int {
	d.close()
	oldest := d.gate.Load().Oldest
	n := d.end()
	if n > 0 {
		d.log.Info().Str("event", "hang_up").Int("streams", n).Int64("oldest_ms", oldest.Milliseconds()).
			Msg("ending the streams that are left")
	}
	if err := shutDown(d.edge, farewell); err != nil {
		d.log.Warn().Str("event", "hang_up").AnErr("error", err).Msg("connections were cut")
	}
	return n
}

// The door is what the drain actor knows of the requests in flight.

// Idle closes when the gate is closed and nothing is in flight.
func (d *door) Idle() <-chan struct{} { return d.gate.Idle() }

// Load counts what is in flight and gives the age of the oldest.
func (d *door) Load() (active int, oldest time.Duration) {
	l := d.gate.Load()
	return l.Left(), l.Oldest
}

// Cut counts the requests that were ended so far.
func (d *door) Cut() int { return int(d.cut.Load()) }

// shutDown lets the answers in flight reach their clients, for a while.
func shutDown(server *edge.Server, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return server.Shutdown(ctx)
}
