package status

import (
	"fmt"
	"slices"
	"time"

	"anthropic-oauth-proxy/messages"
)

func lookTailnetLost(s Snapshot) *Finding {
	t := s.Tailnet
	if s.Lifecycle.Stuck || t.Link == messages.LinkConnected || t.Link == messages.LinkDisabled {
		return nil
	}
	f := &Finding{Level: LevelFault, Fault: FaultTailnet, Since: t.Since, Next: t.Remedy, Runbook: "ProxyTailnetNotConnected"}
	if t.Link == messages.LinkUnknown {
		f.Level, f.Headline = LevelEnding, "the tailnet has not been looked at yet."
		return f
	}
	since := sinceWhen(s.At, t.Since)
	why := string(t.Reason)
	if t.Meaning != "" {
		why = fmt.Sprintf("%s (%s)", t.Meaning, t.Reason)
	}
	f.Headline = fmt.Sprintf("the tailnet is gone%s: %s.", since, why)
	f.Detail = "Peers cannot reach us; streams that are open may go on."
	if t.Reason == messages.ReasonOwnLimits {
		f.Fault, f.Headline, f.Detail = FaultUs, fmt.Sprintf("our fault%s: %s.", since, why), "Nothing is known of the tailnet."
	}
	if t.Detail != "" {
		f.Detail += " tailscaled says: " + t.Detail
	}
	switch s.Lifecycle.Phase {
	case messages.Initializing, messages.ConnectingTailnet:
		f.Headline = fmt.Sprintf("starting: the tailnet is not there yet: %s.", why)
	case messages.Draining, messages.Stopped:
		f.Level = LevelWarning
	}
	return f
}

func lookImpaired(s Snapshot) *Finding {
	// Another name is lookName's to tell.
	impaired := slices.DeleteFunc(slices.Clone(s.Tailnet.Impaired), func(i messages.Impairment) bool { return i == messages.ImpairedNameDiffers })
	if len(impaired) == 0 || s.Lifecycle.Stuck {
		return nil
	}
	f := &Finding{Level: LevelWarning, Fault: FaultTailnet, Runbook: "ProxyTailnetImpaired", Detail: s.Tailnet.Detail,
		Headline: fmt.Sprintf("the tailnet is impaired: %s.", list(impaired))}
	for _, i := range impaired {
		if i == messages.ImpairedKeyExpiring && s.Tailnet.KeyExpiry != nil {
			f.Headline = fmt.Sprintf("the node's key expires in %s (%s).", span(s.Tailnet.KeyExpiry.Sub(s.At)), s.Tailnet.KeyExpiry.UTC().Format(time.RFC3339))
			f.Runbook, f.Next = "ProxyTailnetKeyExpiring", "Disable key expiry for the node in the admin console, or log it in again before that."
		}
	}
	return f
}

func lookName(s Snapshot) *Finding {
	if !s.Tailnet.NameDiffers() {
		return nil
	}
	return &Finding{Level: LevelWarning, Fault: FaultTailnet, Runbook: "The name anthropic-oauth-proxy does not resolve, or leads elsewhere",
		Headline: fmt.Sprintf("the node is named %s, not %s as configured: clients that use the configured name do not come here.", s.Tailnet.Hostname, s.Tailnet.Expected),
		Next:     "Remove the old machine of that name in the Tailscale admin console, then rename this one."}
}
