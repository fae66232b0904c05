package messages

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
	KindDrainFinished     Kind = "drain_finished"
	KindTicked            Kind = "ticked"
)

// Kinds lists every kind once.
var Kinds = []Kind{
	KindConfigLoaded, KindTailnetObserved, KindListenerReady, KindListenerFailed,
	KindShutdownRequested, KindDrainFinished, KindTicked,
}

// ConfigLoaded is the first fact of every run: the configuration is valid.
type ConfigLoaded struct {
	// TailnetDisabled is true with `mode = "off"`: nobody watches a tailnet and
	// the machine passes through ConnectingTailnet at once.
	TailnetDisabled bool
}

// TailnetObserved is what one look at tailscaled showed. The watcher sends one
// per poll, changed or not: silence is itself a fact (see [ReasonStale]).
type TailnetObserved struct{ Status TailnetStatus }

// ListenerReady says that the data-plane socket is bound and accepts.
type ListenerReady struct {
	Addr string // the bound address, with the real port
}

// ListenerFailed says that the data-plane socket could not be bound.
type ListenerFailed struct {
	Addr string // the address of the configuration
	Err  string // the system's reason
}

// ShutdownRequested asks for the end of the process. The first one drains, a
// second one ends the drain at once.
type ShutdownRequested struct {
	Cause string // a signal's name, or who asked
}

// DrainFinished says that no proxied request is left in flight.
type DrainFinished struct {
	Cut int // streams that the deadline ended; 0 when all finished by themselves
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
func (Ticked) Kind() Kind { return KindTicked }

func (ConfigLoaded) isEvent()      {}
func (TailnetObserved) isEvent()   {}
func (ListenerReady) isEvent()     {}
func (ListenerFailed) isEvent()    {}
func (ShutdownRequested) isEvent() {}
func (DrainFinished) isEvent()     {}
func (Ticked) isEvent()            {}
