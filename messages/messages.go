// Package messages holds everything that actors say to each other: facts that
// travel up to the conductor, and the one wish list that travels down.
//
// Facts are typed events in the past tense. They enter one bounded [Mailbox]
// and are read by the conductor alone. Wishes are one comparable struct,
// [Desired], in a [Latest] cell: an actor that restarts reads the cell again,
// so no command is ever lost with a crash and nobody waits for anybody in a
// circle. The package starts nothing, logs nothing and imports only the
// standard library.
package messages

import "time"

// Desired is what the actors must make true. It is comparable, so that a
// publisher can tell a change from a repetition; Equal times come from one
// reading of the clock.
type Desired struct {
	// Listen: the data-plane socket is bound and served. Once wished and then not
	// wished any more, it closes for good.
	Listen bool `json:"listen"`
	// Ready: /readyz says yes.
	Ready bool `json:"ready"`
	// Drain: the door is closed, requests in flight may finish.
	Drain bool `json:"drain"`
	// DrainBy is when the streams still in flight are ended. Zero unless Drain.
	DrainBy time.Time `json:"drain_by"`
	// Stop: the lifecycle has ended; the tree comes down.
	Stop bool `json:"stop"`
}

// Phase is a state of the lifecycle, named as it appears in logs and metrics.
type Phase string

// The phases, in the order of a life.
const (
	Initializing      Phase = "initializing"
	ConnectingTailnet Phase = "connecting_tailnet"
	Starting          Phase = "starting"
	Running           Phase = "running"
	Degraded          Phase = "degraded"
	Draining          Phase = "draining"
	Stopped           Phase = "stopped"
)

// Phases lists every phase once, for tables and metrics.
var Phases = []Phase{Initializing, ConnectingTailnet, Starting, Running, Degraded, Draining, Stopped}

// State is what the rest of the process may know about the lifecycle. The
// conductor publishes it after every step; readers never change it.
type State struct {
	Phase Phase `json:"phase"`
	// Since is when the phase was entered.
	Since time.Time `json:"since"`
	// Tailnet is the newest observation, or [ReasonStale] when it is too old.
	Tailnet TailnetStatus `json:"tailnet"`
	// TailnetSince is when the tailnet was last gained or lost.
	TailnetSince time.Time `json:"tailnet_since"`
	// Trouble is what is wrong with ourselves; empty when nothing is.
	// TroubleDetail says more for a person, TroubleSince is when it began.
	Trouble       Trouble   `json:"trouble"`
	TroubleDetail string    `json:"trouble_detail"`
	TroubleSince  time.Time `json:"trouble_since"`
	// StalledAt is when the process last came back from standing still for
	// StalledFor; zero when it never did.
	StalledAt  time.Time     `json:"stalled_at"`
	StalledFor time.Duration `json:"stalled_for_ns"`
	// TickedAt is when the conductor last made a step: the proof that the
	// process is not deadlocked.
	TickedAt time.Time `json:"ticked_at"`
	// Desired is what this state asks for.
	Desired Desired `json:"desired"`
	// Exit is meaningful in Stopped only.
	Exit Exit `json:"exit"`
}

// Exit is how a life ended.
type Exit struct {
	Code    int    `json:"code"`    // 0 clean, 1 could not run
	Message string `json:"message"` // for a person: what happened and what helps
}
