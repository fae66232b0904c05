package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"anthropic-oauth-proxy/internal/admission"
)

const (
	// spareDescriptors are for the admin port, tailscaled, logs and connections
	// without a request.
	spareDescriptors = 256
	// streamBytes is what a request costs that is not parked, with what is held of
	// its body; baseBytes what the process costs without one.
	streamBytes = 48 << 10
	baseBytes   = 64 << 20
)

func lookDescriptors(_ context.Context, e *examination) Finding {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return skipped("the limit cannot be read: %v", err)
	}
	n := e.Config.Proxy.MaxConnections
	line := admission.NewGate(n, e.Config.Proxy.QueueTimeout).Capacity()
	least := uint64(2*n + spareDescriptors)     // a client and, at worst, a connection of its own to the API
	best := uint64(line + n + spareDescriptors) // and all who wait in line
	const next = "Raise the limit of open files (LimitNOFILE, ulimit -n, the container runtime's default), or lower proxy.max_connections."
	switch {
	case limit.Cur < least:
		return fail(fmt.Sprintf("%d are allowed, %d requests at once need up to %d", limit.Cur, n, least), next, "")
	case limit.Cur < best:
		return warn(fmt.Sprintf("%d are allowed: enough for %d requests, not for all %d that may also wait in line", limit.Cur, n, line-n), next, "")
	}
	return ok("%d are allowed, at most %d are needed", limit.Cur, best)
}

func lookMemory(_ context.Context, e *examination) Finding {
	limit, source := memoryLimit()
	if limit == 0 {
		return skipped("no limit can be read")
	}
	need := int64(baseBytes) + int64(e.Config.Proxy.MaxConnections)*streamBytes
	says := fmt.Sprintf("%d MiB (%s); %d requests at once take about %d MiB", limit>>20, source, e.Config.Proxy.MaxConnections, need>>20)
	if need > limit {
		return warn(says, "Raise the memory limit, or lower proxy.max_connections.", "ProxyMemoryNearLimit")
	}
	return ok("%s", says)
}

// memoryLimit is the container's limit, or what the machine has; 0 when neither
// can be read.
func memoryLimit() (bytes int64, source string) {
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		const unlimited = 1 << 50 // version 1 has no word for it
		if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n < unlimited {
			return n, "the container's limit"
		}
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, ""
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			return kib << 10, "the machine's"
		}
	}
	return 0, ""
}
