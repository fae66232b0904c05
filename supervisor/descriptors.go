package supervisor

import (
	"syscall"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/edge"
)

// otherDescriptors are what the process needs beside connections: the sockets,
// tailscaled's, the log, the runtime's own.
const otherDescriptors = 64

// descriptorsNeeded is how many descriptors the configuration can make the
// service need: the doors let in so many connections, and each running request
// may have a connection of its own to the API.
func descriptorsNeeded(edgeConns, running int) uint64 {
	return uint64(edgeConns + edge.SpareConns + running + otherDescriptors)
}

// warnOfDescriptors tells at the start what would be found out in the busiest
// hour.
func warnOfDescriptors(log zerolog.Logger, needed uint64) {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur >= needed {
		return
	}
	log.Warn().Str("event", "descriptors_scarce").Uint64("limit", limit.Cur).Uint64("needed", needed).
		Msg("fewer files may be open (RLIMIT_NOFILE) than the configuration can need: raise the limit, or lower proxy.max_connections")
}
