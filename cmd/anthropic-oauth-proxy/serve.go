package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/internal/tracing"
	"anthropic-oauth-proxy/messages"
	"anthropic-oauth-proxy/supervisor"
)

func serve(c config.Config, traces *tracing.Settings, stdout, stderr io.Writer) int {
	// Signals are caught before anything runs, so that none can kill a process
	// that has begun to serve: not even a reader of stdout that leaves.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Stop(signals)
	lines := telemetry.NewLines(stdout)
	defer lines.Close() // nobody is left to hear that it failed
	log := telemetry.NewLogger(lines, c.LogLevel)
	telemetry.AdoptStandardLog(log)
	log.Info().Str("event", "starting").Str("version", version).Str("config", c.Source).
		Str("upstream", c.Proxy.Upstream.Host).Str("tailnet", string(c.Tailscale.Mode)).Msg("anthropic-oauth-proxy starts")
	for _, w := range c.Warnings {
		log.Warn().Str("event", "config_warning").Msg(w)
	}
	last := lastWords{stderr: stderr}
	defer last.stop()
	o := supervisor.Options{
		Version: version, Log: log, LastWords: last.say, Collectors: []prometheus.Collector{lines}, LogState: lines.State,
	}
	if traces != nil {
		exporter := tracing.Start(*traces, version, log)
		defer exporter.Close()
		o.Collectors, o.Followers = append(o.Collectors, exporter), append(o.Followers, exporter)
		log.Info().Str("event", "tracing").Str("collector", traces.Endpoint.Host).Msg("spans are sent to a collector")
	}
	system, err := supervisor.Build(c, o)
	if err != nil {
		log.Error().Str("event", "exit").Int("code", exitFailed).Msg(err.Error())
		telemetry.Say(stderr, fmt.Sprintf("anthropic-oauth-proxy: %v\n", err))
		return exitFailed
	}
	ctx, cancel := context.WithCancel(context.Background())
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		newRelay(system, log).run(ctx, signals)
	}()
	told := make(chan struct{})
	go func() {
		defer close(told)
		notify(ctx, log, system.Await)
	}()
	exit := system.Run(context.Background())
	cancel()
	<-relayed
	<-told
	if exit.Code != exitOK {
		telemetry.Say(stderr, fmt.Sprintf("%santhropic-oauth-proxy: %s\n", journalText(system.Journal()), exit.Message))
	}
	return exit.Code
}

// lastWords writes why the process cannot go on and what every goroutine was
// doing. Should the way down or stderr itself hang, the process ends all the
// same, unless stop was called.
type lastWords struct {
	stderr io.Writer
	mu     sync.Mutex
	end    *time.Timer
}

func (l *lastWords) say(reason string, goroutines []byte) {
	l.mu.Lock()
	l.end = time.AfterFunc(supervisor.Takedown+time.Second, func() { os.Exit(exitFailed) })
	l.mu.Unlock()
	telemetry.Say(l.stderr, fmt.Sprintf("%s\nanthropic-oauth-proxy: %s\n", goroutines, reason))
}

func (l *lastWords) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		l.end.Stop()
	}
}

// journalText is how it came to a bad end, one JSON object a line.
func journalText(journal []messages.JournalEntry) string {
	var b strings.Builder
	lines := json.NewEncoder(&b)
	for _, e := range journal {
		_ = lines.Encode(e) // the exit code says what matters
	}
	return b.String()
}
