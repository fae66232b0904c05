package tailnet

import (
	"context"
	"errors"
	"fmt"
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
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/messages"
)

// keyExpiringWithin is how close the end of the node key must be to be a
// warning: long enough to act on after a weekend.
const keyExpiringWithin = 3 * 24 * time.Hour

// maxDetail bounds what goes into logs and pages, in bytes.
const maxDetail = 400

// The names that tailscaled gives its states (package ipn).
const (
	stateNone         = "NoState"
	stateStarting     = "Starting"
	stateRunning      = "Running"
	stateStopped      = "Stopped"
	stateNeedsLogin   = "NeedsLogin"
	stateNeedsMachine = "NeedsMachineAuth"
	stateInUse        = "InUseOtherUser"
)

// Classify says what one look at tailscaled means: st when err is nil, else the
// failure to get it. known are the warnings that the bus has announced, if any.
func Classify(st *ipnstate.Status, err error, known Warnings, now time.Time) messages.TailnetStatus {
	if err == nil && st == nil {
		err = fmt.Errorf("%w: nothing", errBadAnswer)
	}
	if err != nil {
		return messages.TailnetStatus{
			Link: messages.LinkNotConnected, Reason: failureReason(err), Detail: failureDetail(err), At: now,
		}
	}
	out := messages.TailnetStatus{Backend: tidy(st.BackendState), Detail: healthDetail(st.Health), At: now}
	out.IP = firstIP(st.TailscaleIPs)
	if st.Self != nil {
		out.Hostname, out.DNSName = names(st.Self, out.IP)
		if st.Self.KeyExpiry != nil {
			out.KeyExpiry = *st.Self.KeyExpiry
		}
	}
	if out.Reason = stateReason(st, out, now); out.Reason != messages.ReasonNone {
		out.Link = messages.LinkNotConnected
		switch {
		case out.Reason == messages.ReasonUnknownState:
			explain(&out, fmt.Sprintf("tailscaled calls its state %q", out.Backend))
		case out.Reason == messages.ReasonKeyExpired && !out.KeyExpiry.IsZero():
			explain(&out, "the node key expired at "+date(out.KeyExpiry))
		}
		return out
	}
	out.Link = messages.LinkConnected
	out.Impaired = impairments(st, known)
	if !out.KeyExpiry.IsZero() && out.KeyExpiry.Before(now.Add(keyExpiringWithin)) {
		impair(&out, messages.ImpairedKeyExpiring, "the node key expires at "+date(out.KeyExpiry))
	}
	return out
}

// stateReason is why a daemon that answers is not connected. Only the state
// counts: an expired node still has its addresses and calls itself online.
func stateReason(st *ipnstate.Status, seen messages.TailnetStatus, now time.Time) messages.Reason {
	switch st.BackendState {
	case stateRunning:
		if seen.IP == "" {
			return messages.ReasonNoAddress
		}
		return messages.ReasonNone
	case stateStarting:
		return messages.ReasonStarting
	case stateStopped:
		return messages.ReasonStopped
	case stateNeedsMachine:
		return messages.ReasonNeedsApproval
	case stateInUse:
		return messages.ReasonInUseOtherUser
	case stateNeedsLogin:
		expired := st.Self != nil && st.Self.Expired
		if expired || (!seen.KeyExpiry.IsZero() && !seen.KeyExpiry.After(now)) {
			return messages.ReasonKeyExpired
		}
		return messages.ReasonNeedsLogin
	case stateNone:
		return messages.ReasonNoState
	default:
		return messages.ReasonUnknownState
	}
}

// impairments are the warnings that tailscaled's own words give, sorted.
func impairments(st *ipnstate.Status, known Warnings) []messages.Impairment {
	var found []messages.Impairment
	if st.Self == nil || !st.Self.Online {
		found = append(found, messages.ImpairedControlOffline)
	}
	for _, text := range st.Health {
		if imp := known.impairment(text); imp != "" {
			found = append(found, imp)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// impair adds a warning and its account to s.
func impair(s *messages.TailnetStatus, imp messages.Impairment, detail string) {
	s.Impaired = append(slices.Clone(s.Impaired), imp)
	slices.Sort(s.Impaired)
	s.Impaired = slices.Compact(s.Impaired)
	explain(s, detail)
}

// explain puts an account of ours before tailscaled's own, which may be long.
func explain(s *messages.TailnetStatus, detail string) {
	s.Detail = tidy(strings.Join(nonEmpty(detail, s.Detail), "; "))
}

// date is a time as people read it.
func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// failureReason names what kept us from an answer. What this process has run
// out of is not tailscaled's fault, and a daemon whose queue of callers is full
// hangs as one that does not answer.
func failureReason(err error) messages.Reason {
	switch {
	case isAny(err, errBadAnswer, errNobody):
		return messages.ReasonBadAnswer
	case isAny(err, errNotASocket, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL, syscall.EPROTOTYPE):
		return messages.ReasonNotASocket
	case isAny(err, fs.ErrPermission) || local.IsAccessDeniedError(err): // the latter is the library's, which others ask with
		return messages.ReasonPermissionDenied
	case isAny(err, fs.ErrNotExist):
		return messages.ReasonSocketAbsent
	case isAny(err, syscall.ECONNREFUSED):
		return messages.ReasonRefused
	case isAny(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS):
		return messages.ReasonOwnLimits
	case isAny(err, context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.EAGAIN):
		return messages.ReasonTimeout
	default:
		return messages.ReasonPollFailed
	}
}

func isAny(err error, kinds ...error) bool {
	return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
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
	var first netip.Addr
	for _, ip := range ips {
		if ip.IsValid() && (!first.IsValid() || ip.BitLen() < first.BitLen()) {
			first = ip
		}
	}
	if !first.IsValid() {
		return ""
	}
	return first.String()
}

// names are the node's MagicDNS name, the first label and the whole. Without an
// address the name that tailscaled gives is only the machine's own, which means
// nothing to peers.
func names(self *ipnstate.PeerStatus, ip string) (short, full string) {
	if ip == "" {
		return "", ""
	}
	full = tidy(strings.TrimSuffix(self.DNSName, "."))
	if short, _, _ = strings.Cut(full, "."); short == "" {
		short = tidy(self.HostName)
	}
	return short, full
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}
