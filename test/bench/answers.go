package main

import (
	"fmt"
	"strconv"
	"strings"

	"anthropic-oauth-proxy/test/sim"
)

// chunksPerSecond is the pace of one measured stream.
const chunksPerSecond = 20

// apiFields are what every answer of the API says beside its content's type and
// length: 19 lines with those, as a subscription's answer has.
var apiFields = [][2]string{
	{"Date", "Thu, 01 Jan 2026 00:00:00 GMT"},
	{"Request-Id", "req_011BenchBenchBenchBench"},
	{"Anthropic-Organization-Id", "11111111-2222-3333-4444-555555555555"},
	{"Anthropic-Ratelimit-Unified-Status", "allowed"},
	{"Anthropic-Ratelimit-Unified-5h-Status", "allowed"},
	{"Anthropic-Ratelimit-Unified-5h-Reset", "4102444800"},
	{"Anthropic-Ratelimit-Unified-5h-Utilization", "0.17"},
	{"Anthropic-Ratelimit-Unified-7d-Status", "allowed"},
	{"Anthropic-Ratelimit-Unified-7d-Reset", "4102531200"},
	{"Anthropic-Ratelimit-Unified-7d-Utilization", "0.29"},
	{"Anthropic-Ratelimit-Unified-Representative-Claim", "five_hour"},
	{"Anthropic-Ratelimit-Unified-Fallback-Percentage", "0.5"},
	{"Anthropic-Ratelimit-Unified-Reset", "4102444800"},
	{"Anthropic-Ratelimit-Unified-Overage-Status", "rejected"},
	{"Anthropic-Ratelimit-Unified-Overage-Disabled-Reason", "org_level_disabled"},
	{"Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"},
	{"Server", "bench"},
}

// The answers, made once: the upstream must cost as little as it can, because
// it shares a core with the load.
var (
	jsonBody = `{"id":"msg_bench","type":"message","role":"assistant","content":[{"type":"text","text":"` + strings.Repeat("word ", 160) + `"}]}`
	jsonHead = head("application/json", "Content-Length: "+strconv.Itoa(len(jsonBody)))
	sseHead  = head("text/event-stream; charset=utf-8", "Transfer-Encoding: chunked")
	downHead = head("application/octet-stream", "Content-Length: "+strconv.Itoa(farSize))
	sseFirst = sim.Events(1)[0]
	sseDelta = sim.Events(1)[3]
)

// head is that of an answer over HTTP/1.1.
func head(contentType, framing string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n")
	for _, f := range apiFields {
		b.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	b.WriteString(framing + "\r\n\r\n")
	return b.String()
}

func chunked(s string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(s), s) }
