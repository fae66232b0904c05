package lifecycle

import (
	"fmt"

	"anthropic-oauth-proxy/messages"
)

// Remedy is one sentence that tells a person what helps against r. It is empty
// for what is not in [messages.Reasons].
func Remedy(r messages.Reason) string { return remedies[r] }

var remedies = map[messages.Reason]string{
	messages.ReasonNotPolled:        "Nobody has looked at tailscaled yet: read the supervisor's log lines about the service tailnet.",
	messages.ReasonSocketAbsent:     "Check that the tailscaled sidecar runs and that its socket is mounted here, at the path of tailscale.socket or TAILSCALE_SOCKET.",
	messages.ReasonRefused:          "tailscaled has died and left its socket behind: read the sidecar's log for the cause and restart it.",
	messages.ReasonTimeout:          "tailscaled does not answer: restart the sidecar and see whether its CPU or memory limit starves it.",
	messages.ReasonStale:            "The watcher has gone silent: read the supervisor's log lines about the service tailnet, then the sidecar's log.",
	messages.ReasonPollFailed:       "Read the detail, and check that the socket at tailscale.socket or TAILSCALE_SOCKET is tailscaled's own.",
	messages.ReasonNoState:          "Check in the sidecar's log that its auth key is valid, its state directory is writable and the control server can be reached.",
	messages.ReasonStarting:         "Check that the sidecar reaches the control server; if it is merely slow, raise tailscale.connect_timeout_secs.",
	messages.ReasonStopped:          "Run `tailscale up` in the sidecar, or set TS_AUTH_ONCE=false there so that it comes back by itself.",
	messages.ReasonNeedsLogin:       "Give the sidecar a valid auth key that has not expired (TS_AUTHKEY).",
	messages.ReasonKeyExpired:       "Log the node in again with a new auth key (TS_AUTHKEY), and disable key expiry for it in the admin console.",
	messages.ReasonNeedsApproval:    "Approve the machine in the Tailscale admin console, or use a pre-approved auth key.",
	messages.ReasonNoAddress:        "Check the node's addresses in the Tailscale admin console, and restart the sidecar.",
	messages.ReasonPermissionDenied: "Let this user open tailscaled's socket: keep it in a directory of its own that this user's group may enter.",
	messages.ReasonInUseOtherUser:   "Another user of this machine holds tailscaled: log that user out of it.",
}

// account is a status in a few words for a person.
func account(s messages.TailnetStatus) string {
	what := string(s.Reason)
	if what == "" {
		what = string(s.Link)
	}
	if s.Detail == "" {
		return what
	}
	return fmt.Sprintf("%s (%s)", what, s.Detail)
}
