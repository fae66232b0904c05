package messages

import "time"

// Trouble names what is wrong with ourselves, as [Reason] does for the tailnet.
// The set is closed: it is a metric label.
type Trouble string

// The troubles. What each means and what helps is in one table below.
const (
	TroubleNone            Trouble = ""
	TroubleListenerFailing Trouble = "listener_failing"
	TroubleNotAnswering    Trouble = "port_not_answering"
	TroubleDescriptors     Trouble = "out_of_descriptors"
	TroubleConductorStuck  Trouble = "conductor_stuck"
)

// troubleRow is what a person needs to know of a trouble: a phrase and a
// sentence.
type troubleRow struct {
	trouble         Trouble
	meaning, remedy string
}

// troubleTable is the one place where a trouble is explained. specs/lifecycle.md
// and the RUNBOOK repeat it; tests hold them together.
var troubleTable = []troubleRow{
	{TroubleListenerFailing, "the listener fails again and again",
		"Read the cause in the detail and the stack in the log (service listener), save both, and roll back if a new version did it."},
	{TroubleNotAnswering, "a connection to our own proxy port got no answer",
		"Look for connections that take every place or for a CPU limit that starves the process, and save a goroutine dump before you restart it."},
	{TroubleDescriptors, "the process has no file descriptor left",
		"Raise the limit of open files (RLIMIT_NOFILE) or lower proxy.max_connections, and look for who holds idle connections."},
	{TroubleConductorStuck, "the conductor has made no step for ten seconds",
		"Nothing: the process ends itself with a goroutine dump on stderr, which is what a bug report needs."},
}

// Troubles lists every trouble once, without the empty one.
var Troubles = func() []Trouble {
	all := make([]Trouble, len(troubleTable))
	for i, row := range troubleTable {
		all[i] = row.trouble
	}
	return all
}()

func (t Trouble) row() troubleRow {
	for _, row := range troubleTable {
		if row.trouble == t {
			return row
		}
	}
	return troubleRow{}
}

// Meaning is a phrase for a person. It is empty for what is not in [Troubles].
func (t Trouble) Meaning() string { return t.row().meaning }

// Remedy is one sentence that tells a person what helps. It is empty for what
// is not in [Troubles].
func (t Trouble) Remedy() string { return t.row().remedy }

// EdgeStatus is what the supervisor's accounts and a look at our own port say
// of the proxy port. It is comparable, so that a change can be told from a
// repetition.
type EdgeStatus struct {
	Trouble Trouble `json:"trouble"` // empty while a client is served, or nobody is meant to be
	// Detail names the service and its last cause, for a person. It holds
	// nothing that a client sent.
	Detail string `json:"detail"`
	// Idle: no request is in flight. It is told only with a trouble.
	Idle bool `json:"idle"`
}

// ServiceAccount is one service of the supervisor tree as its accounts have it.
type ServiceAccount struct {
	Supervisor string
	Service    string
	Up         bool
	Since      time.Time // since when it is up, or is not
	// Incarnation counts its lives; 1 is the first, 0 before it.
	Incarnation int
	// Restarts counts the ends of its lives that were none of the tree's.
	Restarts int
	// LastMinute is how many of them were in the last minute.
	LastMinute int
	// Pauses counts the pauses in a row before restarts that came too fast: 0
	// in good times, 1 for a stumble, more in a storm.
	Pauses int
	// RetryAt is when the pause ends; zero without one.
	RetryAt time.Time
	// Causes are the newest ends, oldest first, at most [CausesKept].
	Causes []Cause
}

// CausesKept bounds the causes in a [ServiceAccount].
const CausesKept = 8

// Cause is why a life of a service ended by itself.
type Cause struct {
	At   time.Time
	Kind CauseKind
	// Message is what the error or the panic said of itself, at most
	// [CauseBytes] of it.
	Message string
}

// CauseBytes bounds the message of a [Cause].
const CauseBytes = 512

// CauseKind says how a life ended. The set is closed: it is a metric label.
type CauseKind string

// The kinds of causes.
const (
	CausePanic    CauseKind = "panic"
	CauseError    CauseKind = "error"
	CauseReturned CauseKind = "returned" // without an error
)

// CauseKinds lists every kind once.
var CauseKinds = []CauseKind{CausePanic, CauseError, CauseReturned}

// LastCause is the newest cause; zero when there is none.
func (a ServiceAccount) LastCause() Cause {
	if len(a.Causes) == 0 {
		return Cause{}
	}
	return a.Causes[len(a.Causes)-1]
}
