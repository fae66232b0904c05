package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/actors/tailnet"
	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/doctor"
	"anthropic-oauth-proxy/messages"
)

// examine looks at what the service depends on, and says what is wrong: exit 0
// when nothing failed.
func examine(asked request, getenv func(string) string, stdout, stderr io.Writer) int {
	c, err := config.Load(config.Sources{Path: asked.config, Getenv: getenv})
	report := doctor.Examine(context.Background(), doctor.World{Config: c, ConfigErr: err, Classify: classify})
	if asked.json {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.WriteText(stdout, coloured(stdout, getenv))
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: print report: %v\n", err)
		return exitFailed
	case !report.Healthy:
		return exitFailed
	}
	return exitOK
}

func classify(st *ipnstate.Status, err error) messages.TailnetStatus {
	return tailnet.Classify(st, err, nil, time.Now())
}
