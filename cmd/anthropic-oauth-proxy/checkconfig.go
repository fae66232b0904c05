package main

import (
	"fmt"
	"io"

	"anthropic-oauth-proxy/internal/config"
)

// checkConfig prints what is in force, and on stderr what is probably not meant.
func checkConfig(c config.Config, stdout, stderr io.Writer) int {
	for _, w := range c.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", w)
	}
	if _, err := c.WriteTo(stdout); err != nil {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: print configuration: %v\n", err)
		return exitFailed
	}
	return exitOK
}
