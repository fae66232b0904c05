package main

import (
	"context"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/messages"
)

// notify tells a service manager that waits for it (systemd's Type=notify) when
// the service is ready for the first time, and when it begins to end. It returns
// after that, or when ctx ends. Without NOTIFY_SOCKET nobody is told.
func notify(ctx context.Context, log zerolog.Logger, await func(ctx context.Context, holds func(messages.Desired) bool) error) {
	ending := func(d messages.Desired) bool { return d.Drain || d.Stop }
	if await(ctx, func(d messages.Desired) bool { return d.Ready || ending(d) }) != nil {
		return
	}
	tell(log, daemon.SdNotifyReady) // also when the end comes first: the manager then waits for that
	if await(ctx, ending) == nil {
		tell(log, daemon.SdNotifyStopping)
	}
}

func tell(log zerolog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn().Str("event", "notify").AnErr("error", err).Msg("the service manager could not be told: " + state)
	}
}
