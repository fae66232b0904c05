package proxy

import (
	"testing"

	"anthropic-oauth-proxy/internal/headers"
)

// What the record of a request costs: it is begun with what the head says of
// who asks, and the line wants to know that too.
func BenchmarkLive(b *testing.B) {
	head := headers.Fields{
		{Name: "Accept", Value: "application/json"}, {Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: "claude-cli/2.1.197 (external, cli)"},
		{Name: "Authorization", Value: "Bearer sk-ant-oat01-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{Name: "Anthropic-Beta", Value: "claude-code-20250219,oauth-2025-04-20"}, {Name: "Anthropic-Version", Value: "2023-06-01"},
	}
	keys := newLineKeys()
	b.ReportAllocs()
	for b.Loop() {
		newLive("POST", "/v1/messages?beta=true", head)
		keys.stranger(head, "127.0.0.1:1")
	}
}
