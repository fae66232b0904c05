package tailnet

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/messages"
)

// keyExpiringWithin is how close the end of the node key must be to be a
// warning: long enough to act on after a weekend.
const keyExpiringWithin = 3 * 24 * time.Hour

// maxDetail bounds what goes into logs and pages, in bytes.
const maxDetail = 400

// Classify says what one look at tailscaled means: st when err is nil, else the
// failure to get it. known are the warnings that the bus has announced, if any.
func Classify(st *ipnstate.Status, err error, known Warnings, now time.Time) messages.TailnetStatus {
	if err != nil {
		return messages.TailnetStatus{
			Link: messages.LinkNotConnected, Reason: failureReason(err), Detail: failureDetail(err), At: now,
		}
	}
	out := messages.TailnetStatus{Backend: st.BackendState, Detail: healthDetail(st.Health), At: now}
	out.IP = firstIP(st.TailscaleIPs)
	if st.Self != nil {
		out.Hostname = hostname(st.Self, out.IP)
		if st.Self.KeyExpiry != nil {
			out.KeyExpiry = *st.Self.KeyExpiry
		}
	}
	if out.Reason = stateReason(st, out, now); out.Reason != messages.ReasonNone {
		out.Link = messages.LinkNotConnected
		return out
	}
	out.Link = messages.LinkConnected
	out.Impaired = impairments(st, out.KeyExpiry, known, now)
	return out
}

// stateReason is why a daemon that answers is not connected. Only the state
// counts: an expired node still has its addresses and calls itself online.
func stateReason(st *ipnstate.Status, seen messages.TailnetStatus, now time.Time) messages.Reason {
	switch st.BackendState {
	case ipn.Running.String():
		if seen.IP == "" {
			return messages.ReasonNoAddress
		}
		return messages.ReasonNone
	case ipn.Starting.String():
		return messages.ReasonStarting
	case ipn.Stopped.String():
		return messages.ReasonStopped
	case ipn.NeedsMachineAuth.String():
		return messages.ReasonNeedsApproval
	case ipn.InUseOtherUser.String():
		return messages.ReasonInUseOtherUser
	case ipn.NeedsLogin.String():
		expired := st.Self != nil && st.Self.Expired
		if expired || (!seen.KeyExpiry.IsZero() && !seen.KeyExpiry.After(now)) {
			return messages.ReasonKeyExpired
		}
		return messages.ReasonNeedsLogin
	default:
		return messages.ReasonNoState
	}
}

func impairments(st *ipnstate.Status, keyExpiry time.Time, known Warnings, now time.Time) []messages.Impairment {
	var found []messages.Impairment
	if st.Self == nil || !st.Self.Online {
		found = append(found, messages.ImpairedControlOffline)
	}
	if !keyExpiry.IsZero() && keyExpiry.Before(now.Add(keyExpiringWithin)) {
		found = append(found, messages.ImpairedKeyExpiring)
	}
	for _, text := range st.Health {
		if imp := known.impairment(text); imp != "" {
			found = append(found, imp)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// addImpairment returns a sorted list with imp in it, sharing nothing.
func addImpairment(list []messages.Impairment, imp messages.Impairment) []messages.Impairment {
	list = append(slices.Clone(list), imp)
	slices.Sort(list)
	return slices.Compact(list)
}

func failureReason(err error) messages.Reason {
	switch {
	case errors.Is(err, fs.ErrPermission) || local.IsAccessDeniedError(err):
		return messages.ReasonPermissionDenied
	case errors.Is(err, fs.ErrNotExist):
		return messages.ReasonSocketAbsent
	case errors.Is(err, syscall.ECONNREFUSED):
		return messages.ReasonRefused
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return messages.ReasonTimeout
	default:
		return messages.ReasonPollFailed
	}
}

// failureDetail drops the made-up URL that the HTTP client puts in front.
func failureDetail(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return tidy(err.Error())
}

// healthDetail joins tailscaled's own words, in an order that does not change
// from poll to poll.
func healthDetail(health []string) string {
	var texts []string
	for _, text := range health {
		if !strings.HasPrefix(text, warmingUp) {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return tidy(strings.Join(slices.Compact(texts), "; "))
}

var authKey = regexp.MustCompile(`tskey-[A-Za-z0-9_-]+`)

// tidy makes a text fit for a log: one line, bounded, and without an auth key
// that a login error may quote.
func tidy(text string) string {
	text = authKey.ReplaceAllString(strings.Join(strings.Fields(text), " "), "tskey-[redacted]")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// firstIP prefers IPv4: people recognise it.
func firstIP(ips []netip.Addr) string {
	sorted := slices.SortedStableFunc(slices.Values(ips), func(a, b netip.Addr) int {
		return cmp.Compare(a.BitLen(), b.BitLen())
	})
	if len(sorted) == 0 {
		return ""
	}
	return sorted[0].String()
}

// hostname is the node's MagicDNS short name. Without an address the name that
// tailscaled gives is only the machine's own, which means nothing to peers.
func hostname(self *ipnstate.PeerStatus, ip string) string {
	if ip == "" {
		return ""
	}
	if short, _, _ := strings.Cut(self.DNSName, "."); short != "" {
		return short
	}
	return self.HostName
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}
