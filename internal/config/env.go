package config

import (
	"fmt"
	"strings"

	"github.com/rs/zerolog"
)

// inEnvironment is the File of an [Error] about a variable.
const inEnvironment = "environment"

// environment is what the variables say.
type environment struct {
	configPath string
	logLevel   zerolog.Level
	authKey    Secret
	socket     string
	hostname   string
	// What is set and has an effect only with a tailnet, and what never has.
	aboutTailnet, proxies []string
}

// The variables that are only looked at to say that they have no effect: the
// way to the API is not the environment's to choose.
var proxyVariables = []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}

// logLevels are the names that LOG_LEVEL may have. zerolog knows more, but
// "fatal" or "disabled" would hide errors.
var logLevels = []string{"trace", "debug", "info", "warn", "error"}

func readEnvironment(getenv func(string) string) (environment, error) {
	env := environment{
		configPath: getenv("CONFIG_PATH"),
		authKey:    NewSecret(strings.TrimSpace(getenv("TS_AUTHKEY"))),
		socket:     getenv("TAILSCALE_SOCKET"),
		hostname:   strings.TrimSpace(getenv("TAILSCALE_HOSTNAME")),
	}
	var levelErr, socketErr, hostnameErr error
	if env.logLevel, levelErr = parseLevel(strings.TrimSpace(getenv("LOG_LEVEL"))); levelErr != nil {
		levelErr = &Error{
			File: inEnvironment, Key: "LOG_LEVEL", Problem: levelErr.Error(),
			Remedy: "set it to one of " + strings.Join(logLevels, ", ") + ", or unset it for info",
		}
	}
	if problem, remedy := checkSocket(env.socket); problem != "" {
		socketErr = &Error{File: inEnvironment, Key: "TAILSCALE_SOCKET", Problem: problem, Remedy: remedy}
	}
	if env.hostname != "" && !isLabel(env.hostname) {
		hostnameErr = &Error{File: inEnvironment, Key: "TAILSCALE_HOSTNAME", Problem: notALabel, Remedy: labelRemedy}
	}
	env.aboutTailnet = set(getenv, "TAILSCALE_SOCKET", "TAILSCALE_HOSTNAME")
	env.proxies = set(getenv, proxyVariables...)
	return env, joined(levelErr, socketErr, hostnameErr)
}

func parseLevel(name string) (zerolog.Level, error) {
	if name == "" {
		return zerolog.InfoLevel, nil
	}
	for _, known := range logLevels {
		if strings.EqualFold(name, known) {
			return zerolog.ParseLevel(known)
		}
	}
	return zerolog.NoLevel, fmt.Errorf("is not a log level")
}

// set lists the variables that have a value.
func set(getenv func(string) string, names ...string) []string {
	var found []string
	for _, name := range names {
		if getenv(name) != "" {
			found = append(found, name)
		}
	}
	return found
}
