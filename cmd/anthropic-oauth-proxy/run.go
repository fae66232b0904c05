package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/doctor"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/tracing"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `anthropic-oauth-proxy: Claude clients on a tailnet, to the Claude API

usage: anthropic-oauth-proxy [COMMAND] [FLAGS]

commands:
  serve         run the proxy (the default)
  check-config  validate the configuration and print what is in force
  healthcheck   exit 0 when the proxy of this configuration is ready, else 1
  status        say how the running proxy is and whose fault what is wrong is:
                exit 0 healthy, 1 not, 2 nobody answers
  doctor        look at all that the proxy depends on, safe beside a running one:
                exit 0 when nothing failed, else 1
  dump          make the proxy of this container write all its goroutines to stderr,
                and end: the last thing to do to one that hangs
  version       print the version

flags:
  --config FILE  the configuration file; without it and without CONFIG_PATH the
                 built-in defaults apply: loopback only, no tailnet
  --admin ADDR   status: the admin port to ask, in place of the configuration's
  --watch        status: again every second, until interrupted
  --json         status, doctor: as JSON
  --help         this text

environment: CONFIG_PATH, LOG_LEVEL (trace debug info warn error), TS_AUTHKEY, TAILSCALE_SOCKET,
  TAILSCALE_HOSTNAME, NO_COLOR
exit codes:  0 clean, 1 could not run or not ready, 2 bad configuration or usage
`

// run is the whole program but for the process: it returns the exit code.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	asked, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: %v\nrun `anthropic-oauth-proxy --help` for the usage\n", err)
		return exitUsage
	case asked.command == "version":
		fmt.Fprintln(stdout, versionLine())
		return exitOK
	case asked.command == "dump":
		return dump(firstProcess, stdout, stderr)
	case asked.command == "doctor":
		return examine(asked, getenv, stdout, stderr)
	case asked.command == "status" && asked.admin != "":
		return status(asked, asked.admin, getenv, stdout, stderr)
	}
	c, err := config.Load(config.Sources{Path: asked.config, Getenv: getenv})
	if err != nil {
		telemetry.Say(stderr, fmt.Sprintf("anthropic-oauth-proxy: the configuration is not valid:\n%v\n", err))
		return exitUsage
	}
	traces, err := tracing.FromEnvironment(getenv, "anthropic-oauth-proxy")
	if err != nil {
		telemetry.Say(stderr, fmt.Sprintf("anthropic-oauth-proxy: the environment is not valid:\n%v\n", err))
		return exitUsage
	}
	switch asked.command {
	case "check-config":
		return checkConfig(c, stdout, stderr)
	case "healthcheck":
		return healthcheck(c, stdout, stderr)
	case "status":
		return status(asked, doctor.Reachable(c.Proxy.AdminAddr), getenv, stdout, stderr)
	}
	return serve(c, traces, stdout, stderr)
}

// commands maps each command to the flags that it has beside --config.
var commands = map[string][]string{
	"serve": nil, "check-config": nil, "healthcheck": nil, "dump": nil, "version": nil,
	"status": {"admin", "watch", "json"}, "doctor": {"json"},
}

// request is a command line.
type request struct {
	command       string
	config, admin string
	watch, json   bool
}

// parse reads the command and the flags, in either order.
func parse(args []string) (request, error) {
	r := request{command: "serve"}
	flags := flag.NewFlagSet("anthropic-oauth-proxy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&r.config, "config", "", "")
	flags.StringVar(&r.admin, "admin", "", "")
	flags.BoolVar(&r.watch, "watch", false, "")
	flags.BoolVar(&r.json, "json", false, "")
	if err := flags.Parse(args); err != nil {
		return r, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		r.command = rest[0]
		if _, known := commands[r.command]; !known {
			return r, errors.New("unknown command: use serve, check-config, healthcheck, status, doctor, dump or version")
		}
		if err := flags.Parse(rest[1:]); err != nil {
			return r, err
		}
	}
	if flags.NArg() > 0 {
		return r, errors.New("too many arguments: one command at a time")
	}
	var wrong error
	flags.Visit(func(f *flag.Flag) {
		switch {
		case f.Name != "config" && !slices.Contains(commands[r.command], f.Name):
			wrong = fmt.Errorf("%s has no --%s", r.command, f.Name)
		case f.Value.String() == "":
			wrong = fmt.Errorf("--%s needs %s", f.Name, map[string]string{"config": "a file name", "admin": "an address"}[f.Name])
		}
	})
	return r, wrong
}
