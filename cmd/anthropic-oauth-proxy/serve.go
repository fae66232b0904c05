package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/supervisor"
)

func serve(c config.Config, stdout, stderr io.Writer) int {
	// A reader of stdout that leaves must not end a process that serves.
	signal.Ignore(syscall.SIGPIPE)
	lines := telemetry.NewLines(stdout)
	defer lines.Close() // nobody is left to hear that it failed
	log := telemetry.NewLogger(lines, c.LogLevel)
	telemetry.AdoptStandardLog(log)
	log.Info().Str("event", "starting").Str("version", version).Str("config", c.Source).
		Str("upstream", c.Proxy.Upstream.Host).Str("tailnet", string(c.Tailscale.Mode)).Msg("anthropic-oauth-proxy starts")
	for _, w := range c.Warnings {
		log.Warn().Str("event", "config_warning").Msg(w)
	}
	// Signals are caught before anything runs, so that none can kill a process
	// that has begun to serve.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	system, err := supervisor.Build(c, supervisor.Options{Version: version, Log: log, Collectors: []prometheus.Collector{lines}})
	if err != nil {
		log.Error().Str("event", "exit").Int("code", exitFailed).Msg(err.Error())
		telemetry.Say(stderr, fmt.Sprintf("anthropic-oauth-proxy: %v\n", err))
		return exitFailed
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		relay(ctx, signals, system.Shutdown, cancel)
	}()
	told := make(chan struct{})
	go func() {
		defer close(told)
		notify(ctx, log, system.Await)
	}()
	exit := system.Run(ctx)
	cancel(nil)
	<-relayed
	<-told
	if exit.Code != exitOK {
		telemetry.Say(stderr, fmt.Sprintf("anthropic-oauth-proxy: %s\n", exit.Message))
	}
	return exit.Code
}

const (
	// askable is how many signals are requests: to drain, and to stop draining.
	askable = 2
	// deliveryPatience is above any pause between two lives of the conductor.
	deliveryPatience = 5 * time.Second
)

// relay turns signals into requests for the end until ctx ends. A signal too
// many, or one that the service does not take, ends the run itself: whoever
// sends it must not need a kill -9.
func relay(ctx context.Context, signals <-chan os.Signal, request func(ctx context.Context, cause string) error, end context.CancelCauseFunc) {
	for heard := 1; ; heard++ {
		select {
		case s := <-signals:
			if heard > askable || deliver(ctx, s, request) != nil {
				end(fmt.Errorf("%s: the service does not react to signals", s))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func deliver(ctx context.Context, s os.Signal, request func(ctx context.Context, cause string) error) error {
	ctx, cancel := context.WithTimeout(ctx, deliveryPatience)
	defer cancel()
	return request(ctx, s.String())
}
