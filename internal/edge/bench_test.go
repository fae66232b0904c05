package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"anthropic-oauth-proxy/internal/headers"
)

// realHead has the fields of a Claude Code request.
const realHead = "POST /v1/messages?beta=true HTTP/1.1\r\nhost: ai\r\naccept: application/json\r\nanthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14\r\n" +
	"anthropic-dangerous-direct-browser-access: true\r\nanthropic-version: 2023-06-01\r\nauthorization: Bearer token\r\ncontent-type: application/json\r\n" +
	"user-agent: claude-cli/2.0.0 (external, cli)\r\nx-app: cli\r\nx-stainless-arch: x64\r\nx-stainless-helper-method: stream\r\nx-stainless-lang: js\r\n" +
	"x-stainless-os: Linux\r\nx-stainless-package-version: 0.60.0\r\nx-stainless-retry-count: 0\r\nx-stainless-runtime: node\r\nx-stainless-runtime-version: v22.0.0\r\n" +
	"x-stainless-timeout: 600\r\naccept-encoding: gzip, deflate, br\r\nconnection: keep-alive\r\ncontent-length: 512\r\n\r\n"

var realAnswer = headers.FromHTTP(http.Header{
	"Content-Type": {"application/json"}, "Date": {"Tue, 25 Nov 2026 20:00:00 GMT"}, "Request-Id": {"req_011CVxxxxxxxxxxxxxxxxxxxx"},
	"Anthropic-Ratelimit-Unified-Status": {"allowed"}, "Anthropic-Ratelimit-Unified-Reset": {"1764100000"}, "Anthropic-Organization-Id": {"0000"},
	"Server": {"cloudflare"}, "Cf-Ray": {"000-FRA"}, "Via": {"1.1 google"}, "X-Robots-Tag": {"none"}, "Strict-Transport-Security": {"max-age=31536000"},
})

// BenchmarkExchange is one request with the head of a real one and its answer,
// by our own server and by net/http's. The client's share is small: it writes
// and reads bytes.
func BenchmarkExchange(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			buf := make([]byte, 1024)
			s := e.make(handlerFunc(func(c Client) {
				_, _ = io.ReadFull(c.Request().Body, buf[:c.Request().ContentLength])
				_, _ = c.Request().Body.Read(buf)
				c.Respond(Head{Status: 200, Header: realAnswer, ContentLength: 256})
				_, _ = c.Write(buf[:256])
				_ = c.Finish(nil)
			}), Options{})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.ServeListener(b.Context(), ln) }()
			defer func() { s.Close() }()
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			request := []byte(realHead + strings.Repeat("b", 512))
			br := bufio.NewReader(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				for {
					line, err := br.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if len(line) == 2 {
						break
					}
				}
				_, _ = br.Discard(256)
			}
		})
	}
}
