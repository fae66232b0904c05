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
	fieldIP        = "ip"
	fieldExpected  = "expected"
	fieldUnlogged  = "changes_unlogged"
	fieldRemedy    = "remedy"
	fieldTrouble   = "trouble"
	fieldStalledMS = "stalled_ms"
	fieldWaitedMS  = "waited_ms"
	fieldBudgetMS  = "budget_ms"
)

// firstReport is when a wait for the tailnet is reported first; each next
// report comes after twice the time.
const firstReport = time.Second

// reporter writes at most one line of each kind per change of the state, and
// none for a repetition. A tailnet that flaps is told of now and then, with the
// number of changes left out; its last word always comes. It belongs to the
// conductor's goroutine.
type reporter struct {
	log      zerolog.Logger
	expected string

	was      messages.State
	told     messages.TailnetStatus // in the last line about the tailnet
	unlogged int                    // changes of the tailnet since then
	lines    allowance
	hostname string        // the node's name when it last had one
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
	} else if !sameTailnet(r.told, is.Tailnet) && r.lines.take(is.TickedAt) {
		r.tailnet(is.Tailnet)
	}
	r.name(is.Tailnet.Hostname)
	if is.Trouble != was.Trouble {
		r.edge(is)
	}
	if is.Phase != was.Phase {
		r.phase(was, is, m.Trigger())
		r.reportAt = firstReport
	}
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

func (r *reporter) tailnet(t messages.TailnetStatus) {
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
	r.log.WithLevel(level).Str(fieldEvent, eventTailnet).Int(fieldUnlogged, r.unlogged-1).
		Str(fieldLink, string(t.Link)).Str(fieldReason, string(t.Reason)).Str(fieldDetail, t.Detail).
		Strs(fieldImpaired, impaired).Str(fieldHostname, t.Hostname).Str(fieldIP, t.IP).Msg(sentence)
	r.told, r.unlogged = t, 0
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

// waiting reports at 1, 2, 4, 8 … seconds, and whenever the reason changes.
func (r *reporter) waiting(is messages.State, budget time.Duration) {
	waited := is.TickedAt.Sub(is.Since)
	if waited < r.reportAt && (is.Tailnet.Reason == r.told.Reason || !r.lines.take(is.TickedAt)) {
		return
	}
	r.told, r.unlogged = is.Tailnet, 0
	for r.reportAt <= waited {
		r.reportAt *= 2
	}
	r.log.Info().Str(fieldEvent, eventWaiting).
		Str(fieldReason, string(is.Tailnet.Reason)).Str(fieldDetail, is.Tailnet.Detail).
		Str(fieldRemedy, is.Tailnet.Reason.Remedy()).
		Int64(fieldWaitedMS, waited.Milliseconds()).Int64(fieldBudgetMS, budget.Milliseconds()).
		Msg("waiting for the tailnet")
}

// name warns once per change of the node's name. A node that lost its name for
// a while and has the same again is no news.
func (r *reporter) name(hostname string) {
	if hostname == "" || hostname == r.hostname {
		return
	}
	r.hostname = hostname
	if r.expected == "" || strings.EqualFold(hostname, r.expected) {
		return
	}
	r.log.Warn().Str(fieldEvent, eventHostname).Str(fieldHostname, hostname).Str(fieldExpected, r.expected).
		Msg("the node has another name than the configuration expects: clients must use the real one")
}

// sameTailnet ignores the time of the look and the wording of the detail: a
// warning that counts seconds in its text is no news.
func sameTailnet(a, b messages.TailnetStatus) bool {
	return a.Link == b.Link && a.Reason == b.Reason && slices.Equal(a.Impaired, b.Impaired) &&
		a.Hostname == b.Hostname && a.IP == b.IP
}
