package messages

import "time"

// An Event is a fact that an actor reports. The set is closed: only the
// structs of this package implement it. Events travel as values, never as
// pointers.
type Event interface {
	// Kind names the fact.
	Kind() Kind
	isEvent()
}

// Kind names a fact, everywhere: in tables, logs, metrics and journals. The set
// is closed.
type Kind string

// The kinds, one for each event.
const (
	KindConfigLoaded      Kind = "config_loaded"
	KindTailnetObserved   Kind = "tailnet_observed"
	KindListenerReady     Kind = "listener_ready"
	KindListenerFailed    Kind = "listener_failed"
	KindShutdownRequested Kind = "shutdown_requested"
	KindInterrupted       Kind = "interrupted"
	KindDrainFinished     Kind = "drain_finished"
	KindEdgeObserved      Kind = "edge_observed"
	KindStalled           Kind = "stalled"
	KindTicked            Kind = "ticked"
)

// Kinds lists every kind once.
var Kinds = []Kind{
	KindConfigLoaded, KindTailnetObserved, KindListenerReady, KindListenerFailed,
	KindShutdownRequested, KindInterrupted, KindDrainFinished, KindEdgeObserved, KindStalled, KindTicked,
}

// ConfigLoaded is the first fact of every run: the configuration is valid.
type ConfigLoaded struct {
	// TailnetDisabled is true with `mode = "off"`: nobody watches a tailnet and
	// the machine passes through ConnectingTailnet at once.
	TailnetDisabled bool `json:"tailnet_disabled"`
}

// TailnetObserved is what one look at tailscaled showed. The watcher sends one
// per poll, changed or not: silence is itself a fact (see [ReasonStale]).
type TailnetObserved struct {
	Status TailnetStatus `json:"status"`
}

// ListenerReady says that the data-plane socket is bound and accepts.
type ListenerReady struct {
	Addr string `json:"addr"` // the bound address, with the real port
}

// ListenerFailed says that the data-plane socket could not be bound.
type ListenerFailed struct {
	Addr string `json:"addr"` // the address of the configuration
	Err  string `json:"err"`  // the system's reason
}

// ShutdownRequested asks for the end of the process by a drain. Asking again
// changes nothing: wrappers send SIGTERM twice.
type ShutdownRequested struct {
	Cause string `json:"cause"` // a signal's name, or who asked
}

// Interrupted asks for the end as a person at a terminal does: the first time
// it drains, during a drain, whoever began it, it ends that.
type Interrupted struct {
	Cause string `json:"cause"` // a signal's name, or who asked
}

// DrainFinished says that no proxied request is left in flight.
type DrainFinished struct {
	Cut int `json:"cut"` // streams that the deadline ended; 0 when all finished by themselves
}

// EdgeObserved says what became of the proxy port. The conductor makes one out
// of the supervisor's accounts whenever they have changed.
type EdgeObserved struct {
	Edge EdgeStatus `json:"edge"`
}

// Stalled says that the process, or the conductor alone, stood still: a tick
// came late by more than a second. What was not seen or not answered meanwhile
// is nobody else's fault.
type Stalled struct {
	For time.Duration `json:"for_ns"`
}

// Ticked says that time has passed. Deadlines live in the lifecycle machine
// and are checked on ticks.
type Ticked struct{}

// Kind names the fact.
func (ConfigLoaded) Kind() Kind { return KindConfigLoaded }

// Kind names the fact.
func (TailnetObserved) Kind() Kind { return KindTailnetObserved }

// Kind names the fact.
func (ListenerReady) Kind() Kind { return KindListenerReady }

// Kind names the fact.
func (ListenerFailed) Kind() Kind { return KindListenerFailed }

// Kind names the fact.
func (ShutdownRequested) Kind() Kind { return KindShutdownRequested }

// Kind names the fact.
func (DrainFinished) Kind() Kind { return KindDrainFinished }

// Kind names the fact.
func (Interrupted) Kind() Kind { return KindInterrupted }

// Kind names the fact.
func (EdgeObserved) Kind() Kind { return KindEdgeObserved }

// Kind names the fact.
func (Stalled) Kind() Kind { return KindStalled }

// Kind names the fact.
func (Ticked) Kind() Kind { return KindTicked }

func (ConfigLoaded) isEvent()      {}
func (TailnetObserved) isEvent()   {}
func (ListenerReady) isEvent()     {}
func (ListenerFailed) isEvent()    {}
func (ShutdownRequested) isEvent() {}
func (DrainFinished) isEvent()     {}
func (Interrupted) isEvent()       {}
func (EdgeObserved) isEvent()      {}
func (Stalled) isEvent()           {}
func (Ticked) isEvent()            {}
