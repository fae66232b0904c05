package status

import (
	"net/http"
	"slices"

	"anthropic-oauth-proxy/internal/headers"
)

// betaAction tries the rules on the field alone, and says what they do.
func betaAction(rules []headers.Rule, was []string) BetaAction {
	h := http.Header{}
	if len(was) > 0 {
		h[headers.BetaName] = was // rules replace lines, they never write to them
	}
	for _, rule := range rules {
		rule.Apply(h)
	}
	is := h[headers.BetaName]
	switch {
	case slices.Equal(is, was):
		return BetaPresent
	case len(was) == 0:
		return BetaAdded
	case slices.ContainsFunc(rules, func(r headers.Rule) bool { return r.Mode() == headers.ModeSet }):
		return BetaReplaced
	}
	return BetaAppended
}
