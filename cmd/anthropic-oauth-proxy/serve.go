package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"anthropic-oauth-proxy/internal/config"
	"anthropic-oauth-proxy/internal/telemetry"
	"anthropic-oauth-proxy/supervisor"
)

func serve(c config.Config, stdout, stderr io.Writer) int {
	log := telemetry.NewLogger(stdout, c.LogLevel)
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

	system, err := supervisor.Build(c, supervisor.Options{Version: version, Log: log})
	if err != nil {
		log.Error().Str("event", "exit").Int("code", exitFailed).Msg(err.Error())
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: %v\n", err)
		return exitFailed
	}
	ctx, cancel := context.WithCancel(context.Background())
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		relay(ctx, signals, system)
	}()
	exit := system.Run(context.Background())
	cancel()
	<-relayed
	if exit.Code != exitOK {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: %s\n", exit.Message)
	}
	return exit.Code
}

// relay turns signals into facts until ctx ends.
func relay(ctx context.Context, signals <-chan os.Signal, system *supervisor.System) {
	for {
		select {
		case s := <-signals:
			if system.Shutdown(ctx, s.String()) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
