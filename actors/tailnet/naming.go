package tailnet

import (
	"fmt"
	"strings"

	"anthropic-oauth-proxy/messages"
)

// naming compares the node's name with the one that clients use.
type naming struct {
	expected string // the MagicDNS short name; empty expects none
	domain   string // the first that was seen in this process's life
}

// differs says how the node is named otherwise than clients expect; it is empty
// when it is not, or when the node has no name at the moment.
func (n *naming) differs(s messages.TailnetStatus) string {
	var said []string
	if n.expected != "" && s.Hostname != "" && !strings.EqualFold(s.Hostname, n.expected) {
		said = append(said, fmt.Sprintf("the node is named %s, clients expect %s", s.Hostname, n.expected))
	}
	if _, domain, _ := strings.Cut(s.DNSName, "."); domain != "" {
		if n.domain == "" {
			n.domain = domain
		}
		if domain != n.domain {
			said = append(said, fmt.Sprintf("its domain is %s, clients expect %s", domain, n.domain))
		}
	}
	return strings.Join(said, "; ")
}
