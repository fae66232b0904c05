package conductor

import (
	"regexp"
	"slices"
)

// maxCauses is how many accounts of one state of the tailnet are told.
const maxCauses = 8

// causes are the accounts that have been told of one state of the tailnet. They
// may come after the state: a login is refused a moment after it was wanted.
type causes []string

// counting are the parts of an account that change while it stays the same:
// tailscaled counts seconds in its wording.
var counting = regexp.MustCompile(`[0-9][0-9.:]*(ns|µs|ms|[hms])?`)

func digest(detail string) string { return counting.ReplaceAllString(detail, "") }

// lack reports whether detail says what none of the causes does.
func (c causes) lack(detail string) bool {
	return detail != "" && len(c) < maxCauses && !slices.Contains(c, digest(detail))
}

// add takes detail in, if it is lacking.
func (c *causes) add(detail string) {
	if c.lack(detail) {
		*c = append(*c, digest(detail))
	}
}
