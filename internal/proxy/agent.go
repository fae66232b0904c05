package proxy

import "strings"

// OtherClient is the name of every client that has none of its own.
const OtherClient = "other"

// clientOf is what is kept of a User-Agent: the release of the claude
// command, or the name of an official SDK. Everything else is [OtherClient], so that
// nothing that a client invents goes any further.
func clientOf(userAgent string) string {
	product, _, _ := strings.Cut(userAgent, " ")
	name, version, _ := strings.Cut(product, "/")
	switch name {
	case "claude-cli", "claude-code":
		if isRelease(version) {
			return strings.Clone(product) // it outlives the head
		}
	case "Anthropic", "AsyncAnthropic":
		if sdk, known := sdks[version]; known {
			return sdk
		}
	}
	return OtherClient
}

var sdks = map[string]string{
	"Python": "sdk-python", "JS": "sdk-js", "Go": "sdk-go", "Java": "sdk-java", "Kotlin": "sdk-kotlin", "Ruby": "sdk-ruby", "CSharp": "sdk-csharp", "PHP": "sdk-php",
}

// isRelease accepts X.Y.Z of short numbers, nothing behind them.
func isRelease(s string) bool {
	numbers := 0
	for n := range strings.SplitSeq(s, ".") {
		if n == "" || len(n) > 5 || strings.Trim(n, "0123456789") != "" {
			return false
		}
		numbers++
	}
	return numbers == 3
}
