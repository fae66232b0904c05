package messages

// Reason says why the tailnet is not connected. The set is closed: it is a
// metric label.
type Reason string

// The reasons. What each means, whether it heals by itself and what helps is in
// one table below.
const (
	ReasonNone             Reason = ""
	ReasonNotPolled        Reason = "not_polled"
	ReasonSocketAbsent     Reason = "socket_absent"      // ENOENT
	ReasonRefused          Reason = "connection_refused" // ECONNREFUSED
	ReasonTimeout          Reason = "timeout"
	ReasonStale            Reason = "stale"
	ReasonPollFailed       Reason = "poll_failed"
	ReasonBadAnswer        Reason = "bad_answer"
	ReasonNotASocket       Reason = "not_a_socket"
	ReasonOwnLimits        Reason = "own_limits" // EMFILE and its like
	ReasonNoState          Reason = "no_state"
	ReasonUnknownState     Reason = "unknown_state"
	ReasonStarting         Reason = "starting"
	ReasonStopped          Reason = "stopped"
	ReasonNeedsLogin       Reason = "needs_login"
	ReasonKeyExpired       Reason = "key_expired"
	ReasonNeedsApproval    Reason = "needs_machine_auth"
	ReasonNoAddress        Reason = "no_address"
	ReasonPermissionDenied Reason = "permission_denied" // EACCES
	ReasonInUseOtherUser   Reason = "in_use_other_user"
)

// reasonRow is what a person needs to know of a reason: a phrase that says what
// it means, and a sentence that says what helps.
type reasonRow struct {
	reason  Reason
	meaning string
	heals   bool // by waiting; the others need a person
	remedy  string
}

// reasonTable is the one place where a reason is explained. specs/lifecycle.md
// and the RUNBOOK repeat it; tests hold them together.
var reasonTable = []reasonRow{
	{ReasonNotPolled, "nobody has looked at tailscaled yet", true,
		"Nobody has looked at tailscaled yet: read the supervisor's log lines about the service tailnet."},
	{ReasonSocketAbsent, "tailscaled has not started, or has ended", true,
		"Check that the tailscaled sidecar runs and that its socket is mounted here, at the path of tailscale.socket or TAILSCALE_SOCKET."},
	{ReasonRefused, "tailscaled died and left its socket behind", true,
		"tailscaled has died and left its socket behind: read the sidecar's log for the cause and restart it."},
	{ReasonTimeout, "tailscaled hangs", true,
		"tailscaled does not answer: restart the sidecar and see whether its CPU or memory limit starves it."},
	{ReasonStale, "the last answer is too old to be believed", true,
		"The watcher has gone silent: read the supervisor's log lines about the service tailnet, then the sidecar's log."},
	{ReasonPollFailed, "tailscaled could not be asked, for another cause", true,
		"Read the detail, and check that the socket at tailscale.socket or TAILSCALE_SOCKET is tailscaled's own."},
	{ReasonBadAnswer, "what answers does not speak as tailscaled does", true,
		"Check that the socket at tailscale.socket or TAILSCALE_SOCKET is tailscaled's own, and the sidecar's version against the one that this build was tested with."},
	{ReasonNotASocket, "what lies at the socket's path is no socket", false,
		"Set tailscale.socket or TAILSCALE_SOCKET to tailscaled's socket, and mount its directory rather than the socket itself: a container runtime makes a directory of a file that is not there yet."},
	{ReasonOwnLimits, "this process cannot open one more file or connection", true,
		"Raise this process's limit on open files, or lower proxy.max_connections: tailscaled is not to blame."},
	{ReasonNoState, "tailscaled has no engine state yet, or never will", true,
		"Check in the sidecar's log that its auth key is valid, its state directory is writable and the control server can be reached."},
	{ReasonUnknownState, "tailscaled is in a state that this build does not know", true,
		"Read the state's name in the detail, and use a sidecar of the version that this build was tested with."},
	{ReasonStarting, "tailscaled starts, or cannot reach the control server", true,
		"Check that the sidecar reaches the control server; if it is merely slow, raise tailscale.connect_timeout_secs."},
	{ReasonStopped, "somebody ran `tailscale down`", true,
		"Run `tailscale up` in the sidecar, or set TS_AUTH_ONCE=false there so that it comes back by itself."},
	{ReasonNeedsLogin, "the node is logged out", true,
		"Give the sidecar a valid auth key that has not expired (TS_AUTHKEY)."},
	{ReasonKeyExpired, "the node key has expired", true,
		"Log the node in again with a new auth key (TS_AUTHKEY), and disable key expiry for it in the admin console."},
	{ReasonNeedsApproval, "an admin must approve the machine", false,
		"Approve the machine in the Tailscale admin console, or use a pre-approved auth key."},
	{ReasonNoAddress, "the node has no address", true,
		"Check the node's addresses in the Tailscale admin console, and restart the sidecar."},
	{ReasonPermissionDenied, "the socket belongs to another user", false,
		"Let this user open tailscaled's socket: keep it in a directory of its own that this user's group may enter."},
	{ReasonInUseOtherUser, "another user of this machine holds tailscaled", true,
		"Another user of this machine holds tailscaled: log that user out of it."},
}

// Reasons lists every reason once, without the empty one.
var Reasons = func() []Reason {
	all := make([]Reason, len(reasonTable))
	for i, row := range reasonTable {
		all[i] = row.reason
	}
	return all
}()

// row is the zero row, which heals, for what is not in the table.
func (r Reason) row() reasonRow {
	for _, row := range reasonTable {
		if row.reason == r {
			return row
		}
	}
	return reasonRow{heals: true}
}

// Meaning is a phrase for a person. It is empty for what is not in [Reasons].
func (r Reason) Meaning() string { return r.row().meaning }

// HealsByWaiting reports whether patience can mend it. The others need a
// person, and end the start-up at once.
func (r Reason) HealsByWaiting() bool { return r.row().heals }

// Remedy is one sentence that tells a person what helps. It is empty for what
// is not in [Reasons].
func (r Reason) Remedy() string { return r.row().remedy }
