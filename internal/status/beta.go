package status

import (
	"slices"

	"anthropic-oauth-proxy/internal/headers"
)

// betaAction tries the rules on the field alone, and says what they do.
func betaAction(rules []headers.Rule, was headers.Fields) BetaAction {
	is := slices.Clone(was)
	for _, rule := range rules {
		is = rule.Apply(is)
	}
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
