package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// A Policy is what a tailnet's policy file says of who may do what, as far as
// the service's documents use it.
type Policy struct {
	Grants []Grant `json:"grants"`
}

// A Grant lets nodes reach others, and tells the others what they may do there.
type Grant struct {
	Src []string                     `json:"src"`
	Dst []string                     `json:"dst"`
	IP  []string                     `json:"ip"` // "tcp:80"
	App map[string][]json.RawMessage `json:"app"`
}

// Members are the nodes behind the names that a policy uses.
type Members map[string][]key.NodePublic

// SetPolicy makes the policy the only source of what nodes may reach. A name
// without a member is an error: a grant to nobody would pass unseen.
func (c *Control) SetPolicy(p Policy, who Members) error {
	rules := map[key.NodePublic][]tailcfg.FilterRule{}
	for _, g := range p.Grants {
		for _, name := range slices.Concat(g.Src, g.Dst) {
			if len(who[name]) == 0 {
				return fmt.Errorf("policy: nobody is %s", name)
			}
		}
		for _, dst := range g.Dst {
			for _, node := range who[dst] {
				granted, err := c.rules(g, node, who)
				if err != nil {
					return fmt.Errorf("policy: %w", err)
				}
				rules[node] = append(rules[node], granted...)
			}
		}
	}
	c.mu.Lock()
	c.rulesOf = rules
	c.mu.Unlock()
	c.push()
	return nil
}

// rules are what one grant means at one of its destinations.
func (c *Control) rules(g Grant, dst key.NodePublic, who Members) ([]tailcfg.FilterRule, error) {
	var from []string
	for _, name := range g.Src {
		for _, node := range who[name] {
			for _, addr := range c.addresses(node) {
				from = append(from, addr.String())
			}
		}
	}
	var rules []tailcfg.FilterRule
	if len(g.IP) > 0 {
		rule := tailcfg.FilterRule{SrcIPs: from, IPProto: []int{6}}
		for _, ip := range g.IP {
			port, err := strconv.ParseUint(strings.TrimPrefix(ip, "tcp:"), 10, 16)
			if err != nil {
				return nil, fmt.Errorf("read ip %q: %w", ip, err)
			}
			ports := tailcfg.PortRange{First: uint16(port), Last: uint16(port)}
			rule.DstPorts = append(rule.DstPorts, tailcfg.NetPortRange{IP: "*", Ports: ports})
		}
		rules = append(rules, rule)
	}
	if len(g.App) > 0 {
		grant := tailcfg.CapGrant{Dsts: c.addresses(dst), CapMap: tailcfg.PeerCapMap{}}
		for name, values := range g.App {
			for _, v := range values {
				grant.CapMap[tailcfg.PeerCapability(name)] = append(grant.CapMap[tailcfg.PeerCapability(name)], tailcfg.RawMessage(v))
			}
		}
		rules = append(rules, tailcfg.FilterRule{SrcIPs: from, CapGrant: []tailcfg.CapGrant{grant}})
	}
	return rules, nil
}

func (c *Control) addresses(node key.NodePublic) []netip.Prefix {
	if n := c.srv.Node(node); n != nil {
		return n.Addresses
	}
	return nil
}

// filters replace whatever packet filter a node has by those of a policy.
func filters(rules []tailcfg.FilterRule) map[string][]tailcfg.FilterRule {
	return map[string][]tailcfg.FilterRule{"*": nil, "policy": rules}
}
