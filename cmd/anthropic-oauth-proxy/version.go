package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and revision are stamped by .ci/build (-ldflags "-X main.version=…").
var version, revision = "dev", ""

// versionLine says what runs, and of which sources.
func versionLine() string {
	return fmt.Sprintf("anthropic-oauth-proxy %s (%s, %s/%s, commit %s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit())
}

// commit names the sources: as .ci/build stamped it, else as a plain go build did.
func commit() string {
	if revision != "" {
		return revision
	}
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
