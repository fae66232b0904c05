package tailnet

import (
	"strings"

	"tailscale.com/health"
	"tailscale.com/tsconst"

	"anthropic-oauth-proxy/messages"
)

// Warnings are tailscaled's health warnings by their text. Its status gives
// texts alone; its bus gives codes too, which do not change with the wording.
type Warnings map[string]Warning

// Warning is what the bus says about one text.
type Warning struct {
	Code                string
	ImpactsConnectivity bool
}

// warmingUp opens the text that tailscaled shows for its first seconds. It is
// no fault.
const warmingUp = "Tailscale is starting"

// byCode are the warnings that have a meaning of their own.
var byCode = map[string]messages.Impairment{
	tsconst.HealthWarnableMapResponseTimeout:        messages.ImpairedControlSilent,
	tsconst.HealthWarnableNotInMapPoll:              messages.ImpairedControlOffline,
	tsconst.HealthWarnableNoDERPHome:                messages.ImpairedNoDERP,
	tsconst.HealthWarnableNoDERPConnection:          messages.ImpairedNoDERP,
	tsconst.HealthWarnableDERPTimedOut:              messages.ImpairedNoDERP,
	tsconst.HealthWarnableTLSConnectionFailed:       messages.ImpairedHealth,
	tsconst.HealthWarnableMagicsockReceiveFuncError: messages.ImpairedHealth,
}

// byText serves when the bus has not spoken, or is closed. The order matters
// not: no text has two of these beginnings.
var byText = []struct {
	prefix string
	means  messages.Impairment
}{
	{"Tailscale hasn't received a network map", messages.ImpairedControlSilent},
	{"Unable to connect to the Tailscale coordination server", messages.ImpairedControlOffline},
	{"Tailscale could not connect to any relay server", messages.ImpairedNoDERP},
	{"Tailscale could not connect to the ", messages.ImpairedNoDERP}, // … 'name' relay server
	{"Tailscale hasn't heard from the ", messages.ImpairedNoDERP},    // … 'name' relay server
	{"Tailscale cannot connect because the network is down", messages.ImpairedHealth},
	{"Tailscale couldn't listen for incoming UDP", messages.ImpairedHealth},
	{"Tailscale could not establish an encrypted connection", messages.ImpairedHealth},
	{"The MagicSock function", messages.ImpairedHealth},
}

// impairment is what a health text means for our reachability, or empty when
// it means nothing.
func (w Warnings) impairment(text string) messages.Impairment {
	if known, ok := w[text]; ok {
		if imp, ok := byCode[known.Code]; ok {
			return imp
		}
		if known.ImpactsConnectivity {
			return messages.ImpairedHealth
		}
		return ""
	}
	for _, entry := range byText {
		if strings.HasPrefix(text, entry.prefix) {
			return entry.means
		}
	}
	return ""
}

// warningsOf indexes what the bus says by the texts that the status will show.
func warningsOf(state *health.State) Warnings {
	w := Warnings{}
	for code, u := range state.Warnings {
		w[statusText(u)] = Warning{Code: string(code), ImpactsConnectivity: u.ImpactsConnectivity}
	}
	return w
}

// statusText is how tailscaled words a warning in its status. Those that come
// from the control plane get their title and their link there.
func statusText(u health.UnhealthyState) string {
	text := u.Text
	if strings.HasPrefix(string(u.WarnableCode), "control-health.") {
		switch {
		case u.Title != "" && u.Text != "":
			text = u.Title + ": " + u.Text
		case u.Title != "":
			text = u.Title + "."
		}
		if u.PrimaryAction != nil {
			text += " " + u.PrimaryAction.Label + ": " + u.PrimaryAction.URL
		}
	}
	return text
}
