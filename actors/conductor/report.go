package conductor

import (
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/lifecycle"
	"anthropic-oauth-proxy/messages"
)

// The values of the field event.
const (
	eventLifecycle = "lifecycle"
	eventTailnet   = "tailnet"
	eventWaiting   = "tailnet_waiting"
	eventHostname  = "tailnet_hostname_differs"
	eventEdge      = "edge"
	eventStalled   = "process_stalled"
)

// The names of the fields.
const (
	fieldEvent     = "event"
	fieldFrom      = "from"
	fieldTo        = "to"
	fieldReason    = "reason"
	fieldInPhaseMS = "in_phase_ms"
	fieldExitCode  = "exit_code"
	fieldLink      = "link"
	fieldDetail    = "detail"
	fieldImpaired  = "impaired"
	fieldHostname  = "hostname"
	fieldDNSName   = "dns_name"
	fieldIP        = "ip"
	fieldExpected  = "expected"
	fieldUnlogged  = "changes_unlogged"
	fieldRemedy    = "remedy"
	fieldTrouble   = "trouble"
	fieldStalledMS = "stalled_ms"
	fieldWaitedMS  = "waited_ms"
	fieldBudgetMS  = "budget_ms"
)

// remindEvery is when what is still wrong with the tailnet is told again.
const remindEvery = time.Hour

// firstReport is when a wait for the tailnet is reported first; each next
// report comes after twice the time.
const firstReport = time.Second

// reporter writes at most one line of each kind per change of the state, and
// none for a repetition, but for an hourly reminder of what is still wrong. A
// tailnet that flaps is told of now and then, with the number of changes left
// out; its last word always comes. It belongs to the conductor's goroutine.
type reporter struct {
	log      zerolog.Logger
	expected string

	was      messages.State
	told     messages.TailnetStatus // in the last line about the tailnet
	toldAt   time.Time
	causes   causes // told of that state
	unlogged int    // changes of the tailnet since then
	lines    allowance
	misnamed string // the node's wrong name in the last line about it
	namedAt  time.Time
	reportAt time.Duration // of the wait for the tailnet
}

// changes reports what is new since the last call, causes before consequences.
func (r *reporter) changes(m lifecycle.Machine) {
	was, is := r.was, m.State()
	r.was = is
	if !sameTailnet(was.Tailnet, is.Tailnet) {
		r.unlogged++
	}
	// While the start waits for the tailnet, the report of the waiting tells
	// each change, with the remedy.
	if is.Phase == messages.ConnectingTailnet && was.Phase == messages.ConnectingTailnet {
		r.waiting(is, m.Limits().ConnectTimeout)
	} else if r.isNews(is) && r.lines.take(is.TickedAt) {
		r.tailnet(is)
	}
	r.name(is)
	if is.Trouble != was.Trouble {
		r.edge(is)
	}
	if is.Phase != was.Phase {
		r.phase(was, is, m.Trigger())
		r.reportAt = firstReport
	}
}

// isNews reports whether the tailnet has changed since the last line, has a
// cause that was not told, or is wrong for so long that it is told again.
func (r *reporter) isNews(is messages.State) bool {
	t := is.Tailnet
	wrong := t.Link == messages.LinkNotConnected || len(t.Impaired) > 0
	return !sameTailnet(r.told, t) || r.causes.lack(t.Detail) ||
		wrong && is.TickedAt.Sub(r.toldAt) >= remindEvery
}

// tell keeps what the last line about the tailnet said.
func (r *reporter) tell(is messages.State) {
	if !sameTailnet(r.told, is.Tailnet) {
		r.causes = nil
	}
	r.causes.add(is.Tailnet.Detail)
	r.told, r.toldAt, r.unlogged = is.Tailnet, is.TickedAt, 0
}

func (r *reporter) phase(was, is messages.State, why lifecycle.Trigger) {
	level, sentence := zerolog.InfoLevel, "the service is "+strings.ReplaceAll(string(is.Phase), "_", " ")
	switch {
	case is.Phase == messages.Degraded:
		level = zerolog.WarnLevel
	case is.Phase == messages.Stopped:
		sentence = is.Exit.Message
		if is.Exit.Code != 0 {
			level = zerolog.ErrorLevel
		}
	}
	line := r.log.WithLevel(level).Str(fieldEvent, eventLifecycle).
		Str(fieldFrom, string(was.Phase)).Str(fieldTo, string(is.Phase)).
		Str(fieldReason, string(why)).Int64(fieldInPhaseMS, is.Since.Sub(was.Since).Milliseconds())
	if is.Phase == messages.Stopped {
		line = line.Int(fieldExitCode, is.Exit.Code)
	}
	line.Msg(sentence)
}

func (r *reporter) tailnet(is messages.State) {
	t := is.Tailnet
	level, sentence := zerolog.WarnLevel, "the tailnet is not connected"
	switch {
	case t.Link == messages.LinkDisabled:
		level, sentence = zerolog.InfoLevel, "the tailnet is disabled by the configuration"
	case t.Link == messages.LinkConnected && len(t.Impaired) > 0:
		sentence = "the tailnet is connected but impaired"
	case t.Link == messages.LinkConnected:
		level, sentence = zerolog.InfoLevel, "the tailnet is connected"
	}
	impaired := make([]string, len(t.Impaired))
	for i, imp := range t.Impaired {
		impaired[i] = string(imp)
	}
	r.log.WithLevel(level).Str(fieldEvent, eventTailnet).Int(fieldUnlogged, max(r.unlogged-1, 0)).
		Str(fieldLink, string(t.Link)).Str(fieldReason, string(t.Reason)).Str(fieldDetail, t.Detail).
		Strs(fieldImpaired, impaired).Str(fieldHostname, t.Hostname).Str(fieldDNSName, t.DNSName).
		Str(fieldIP, t.IP).Msg(sentence)
	r.tell(is)
}

// edge tells what is wrong with our own port, or that nothing is any more.
func (r *reporter) edge(is messages.State) {
	if is.Trouble == messages.TroubleNone {
		r.log.Info().Str(fieldEvent, eventEdge).Str(fieldTrouble, "").Msg("the proxy port has no trouble any more")
		return
	}
	r.log.Error().Str(fieldEvent, eventEdge).Str(fieldTrouble, string(is.Trouble)).
		Str(fieldDetail, is.TroubleDetail).Str(fieldRemedy, is.Trouble.Remedy()).
		Msg("the proxy port does not serve: " + is.Trouble.Meaning())
}

// stalled tells that we stood still ourselves.
func (r *reporter) stalled(late time.Duration) {
	r.log.Warn().Str(fieldEvent, eventStalled).Int64(fieldStalledMS, late.Milliseconds()).
		Msg("the process stood still, or got no time: nobody else is to blame for what was not seen meanwhile")
}

// waiting reports at 1, 2, 4, 8 … seconds, and whenever there is another reason
// or cause.
func (r *reporter) waiting(is messages.State, budget time.Duration) {
	waited := is.TickedAt.Sub(is.Since)
	same := is.Tailnet.Reason == r.told.Reason && !r.causes.lack(is.Tailnet.Detail)
	if waited < r.reportAt && (same || !r.lines.take(is.TickedAt)) {
		return
	}
	r.tell(is)
	for r.reportAt <= waited {
		r.reportAt *= 2
	}
	r.log.Info().Str(fieldEvent, eventWaiting).
		Str(fieldReason, string(is.Tailnet.Reason)).Str(fieldDetail, is.Tailnet.Detail).
		Str(fieldRemedy, is.Tailnet.Reason.Remedy()).
		Int64(fieldWaitedMS, waited.Milliseconds()).Int64(fieldBudgetMS, budget.Milliseconds()).
		Msg("waiting for the tailnet")
}

// name warns of a name that is not the expected one, once an hour and at each
// change. A node that was lost for a while and has the same name is no news.
func (r *reporter) name(is messages.State) {
	t := is.Tailnet
	if t.Hostname == "" {
		return
	}
	if !slices.Contains(t.Impaired, messages.ImpairedNameDiffers) {
		r.misnamed = ""
		return
	}
	name := t.Hostname + " " + t.DNSName
	if name == r.misnamed && is.TickedAt.Sub(r.namedAt) < remindEvery {
		return
	}
	r.misnamed, r.namedAt = name, is.TickedAt
	r.log.Warn().Str(fieldEvent, eventHostname).Str(fieldHostname, t.Hostname).Str(fieldDNSName, t.DNSName).
		Str(fieldExpected, r.expected).Str(fieldDetail, t.Detail).
		Msg("the node has another name than clients use: they reach nobody, or somebody else")
}

// sameTailnet ignores the time of the look and the wording of the detail: a
// warning that counts seconds in its text is no news.
func sameTailnet(a, b messages.TailnetStatus) bool {
	return a.Link == b.Link && a.Reason == b.Reason && slices.Equal(a.Impaired, b.Impaired) &&
		a.Hostname == b.Hostname && a.DNSName == b.DNSName && a.IP == b.IP
}
