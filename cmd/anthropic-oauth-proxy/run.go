package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"anthropic-oauth-proxy/internal/config"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// version and revision are stamped by .ci/build (-ldflags "-X main.version=…").
var version, revision = "dev", ""

const usage = `anthropic-oauth-proxy: Claude clients on a tailnet, to the Claude API

usage: anthropic-oauth-proxy [COMMAND] [--config FILE]

commands:
  serve         run the proxy (the default)
  check-config  validate the configuration and print what is in force
  healthcheck   exit 0 when the proxy of this configuration is ready, else 1
  version       print the version

flags:
  --config FILE  the configuration file; without it and without CONFIG_PATH the
                 built-in defaults apply: loopback only, no tailnet
  --help         this text

environment: CONFIG_PATH, LOG_LEVEL (trace debug info warn error), TS_AUTHKEY, TAILSCALE_SOCKET
exit codes:  0 clean, 1 could not run or not ready, 2 bad configuration or usage
`

// run is the whole program but for the process: it returns the exit code.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	command, path, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: %v\nrun `anthropic-oauth-proxy --help` for the usage\n", err)
		return exitUsage
	case command == "version":
		fmt.Fprintf(stdout, "anthropic-oauth-proxy %s (%s, %s/%s, commit %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit())
		return exitOK
	}
	c, err := config.Load(config.Sources{Path: path, Getenv: getenv})
	if err != nil {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: the configuration is not valid:\n%v\n", err)
		return exitUsage
	}
	switch command {
	case "check-config":
		return checkConfig(c, stdout, stderr)
	case "healthcheck":
		return healthcheck(c, stdout, stderr)
	}
	return serve(c, stdout, stderr)
}

var commands = map[string]bool{"serve": true, "check-config": true, "healthcheck": true, "version": true}

// parse reads the command and the flags, in either order.
func parse(args []string) (command, path string, err error) {
	flags := flag.NewFlagSet("anthropic-oauth-proxy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&path, "config", "", "")
	if err := flags.Parse(args); err != nil {
		return "", "", err
	}
	command = "serve"
	if rest := flags.Args(); len(rest) > 0 {
		command = rest[0]
		if !commands[command] {
			return "", "", errors.New("unknown command: use serve, check-config, healthcheck or version")
		}
		if err := flags.Parse(rest[1:]); err != nil {
			return "", "", err
		}
	}
	if flags.NArg() > 0 {
		return "", "", errors.New("too many arguments: one command at a time")
	}
	named := false
	flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	if named && path == "" {
		return "", "", errors.New("--config needs a file name")
	}
	return command, path, nil
}

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
