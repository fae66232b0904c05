package lifecycle

import (
	"fmt"

	"anthropic-oauth-proxy/messages"
)

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
