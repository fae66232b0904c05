package k8s

import (
	"fmt"
	"regexp"
	"strings"
)

// A Block is one shell snippet of the RUNBOOK and what the comment above it says
// of its test: "run: healthy", "run: last", `run: phase "NAME"` or "not run: WHY".
type Block struct{ How, Script string }

var blocks = regexp.MustCompile("(?s)(?:<!-- ((?:not )?run: [^\n]*) -->\n)?```sh\n(.*?)```")

// RunbookBlocks returns the RUNBOOK's shell snippets in their order. One of which
// nothing says how it is tested is an error.
func RunbookBlocks(text string) ([]Block, error) {
	var all []Block
	for _, match := range blocks.FindAllStringSubmatch(text, -1) {
		if match[1] == "" {
			return nil, fmt.Errorf("nothing says how this is tested:\n%s", match[2])
		}
		all = append(all, Block{How: match[1], Script: match[2]})
	}
	return all, nil
}

var inline = regexp.MustCompile("`(kubectl [a-z-]+ [^`\\n]+|k8s/(?:preflight|verify)[^`\\n]*)`")

// RunbookCommands returns the commands that stand in the RUNBOOK's sentences and
// cells, each once. Those with an ellipsis are not whole and are left out.
func RunbookCommands(text string) []string {
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	var all []string
	seen := map[string]bool{}
	for _, match := range inline.FindAllStringSubmatch(prose, -1) {
		if command := match[1]; !seen[command] && !strings.Contains(command, "…") {
			seen[command] = true
			all = append(all, command)
		}
	}
	return all
}

// LooksOnly reports whether a command changes nothing, so that a test may run it
// on any deployment.
func LooksOnly(command string) bool {
	return regexp.MustCompile(`^kubectl (get|describe|logs|exec \S+ -c (proxy|tailscale) --) `).MatchString(command) || command == "k8s/verify"
}
