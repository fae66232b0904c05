package doctor

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

// recipes are what others need to know of this node.
func (e *examination) recipes() []Recipe {
	_, port, _ := net.SplitHostPort(e.Config.Proxy.ListenAddr)
	name := e.Config.Tailscale.Hostname
	if e.tailnet.Hostname != "" {
		name = e.tailnet.Hostname
	}
	base := fmt.Sprintf("http://%s:%s", name, port)
	if e.off() {
		base = "http://" + Reachable(e.Config.Proxy.ListenAddr)
	}
	all := []Recipe{{
		Title: "Claude Code", Where: "its environment, or \"env\" in settings.json",
		Text: strings.Join([]string{
			"ANTHROPIC_BASE_URL=" + base,
			"ENABLE_TOOL_SEARCH=true", "CLAUDE_CODE_ENABLE_FINE_GRAINED_TOOL_STREAMING=1", "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK=1"}, "\n"),
	}}
	if e.off() {
		return all
	}
	return append(all, Recipe{
		Title: "The tailnet's policy", Where: "the grants of the policy file; name your own groups",
		Text: pretty(map[string]any{"grants": []any{map[string]any{
			"src": []string{"tag:aperture", "group:claude-users"}, "dst": e.destination(), "ip": []string{"tcp:" + port},
		}}}),
	}, Recipe{
		Title: "Aperture", Where: "its configuration; list every model by its exact id, and set no apikey",
		Text: pretty(map[string]any{"providers": map[string]any{"anthropic-oauth": map[string]any{
			"baseurl": base, "models": []string{"claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5"}, "authorization": "bearer",
			"auth_mode": "passthrough", "compatibility": map[string]bool{"anthropic_messages": true},
		}}}),
	})
}

// destination is this node as the policy names it: by its tags, else by its
// address.
func (e *examination) destination() []string {
	if e.status != nil && e.status.Self != nil {
		if tags := e.status.Self.Tags; tags != nil && tags.Len() > 0 {
			return tags.AsSlice()
		}
		if e.tailnet.IP != "" {
			return []string{e.tailnet.IP}
		}
	}
	return []string{"tag:anthropic-oauth-proxy"}
}

func pretty(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error() // maps of strings: it cannot happen
	}
	return string(b)
}
