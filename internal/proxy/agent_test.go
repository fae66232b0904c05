package proxy

import "testing"

func TestClientNames(t *testing.T) {
	for agent, want := range map[string]string{
		"claude-cli/2.1.330 (external, cli)": "claude-cli/2.1.330",
		"claude-cli/2.1.330":                 "claude-cli/2.1.330",
		"claude-code/3.0.1 (x)":              "claude-code/3.0.1",
		"Anthropic/Python 0.40.0":            "sdk-python",
		"AsyncAnthropic/Python 0.40.0":       "sdk-python",
		"Anthropic/JS 0.32.1":                "sdk-js",
		"Anthropic/Go 1.4.0":                 "sdk-go",
		"":                                   OtherClient,
		"curl/8.0":                           OtherClient,
		"Bun/1.2":                            OtherClient,
		"claude-cli/2.1.330-secret":          OtherClient,
		"claude-cli/2.1":                     OtherClient,
		"claude-cli/1.2.3.4":                 OtherClient,
		"claude-cli/123456.1.1":              OtherClient,
		"claude-cli/sk-ant-oat01-x":          OtherClient,
		"Anthropic/sk-ant-oat01-x":           OtherClient,
		"claude-cli/..":                      OtherClient,
	} {
		if got := clientOf(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}
