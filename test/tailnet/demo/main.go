// Command demo shows the service on a tailnet that lives on this machine only:
// a caller streams an answer by MagicDNS name, then tailscaled dies and comes
// back, and health follows. It takes no flags, dials nothing but loopback,
// needs no account, and leaves nothing behind.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tailscale.com/ipn"

	"anthropic-oauth-proxy/test/sim"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

// budget bounds the whole show once the binaries are built.
const budget = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	fmt.Fprintln(out, "Building tailscaled and the service (minutes the first time, then seconds) …")
	if _, err := lab.Tailscaled(); err != nil {
		return err
	}
	if _, err := lab.ProxyBinary(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Proxy: lab.ProxyOptions{Port: 8080}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	fmt.Fprintf(out, "\nA tailnet is up. The service is known on it as\n\n    %s\n", l.URL("/"))
	for _, act := range []func(context.Context, io.Writer, *lab.Lab) error{stream, health, kill, revive} {
		if err := act(ctx, out, l); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "\nDone; everything is taken down again.")
	return nil
}

// stream prints an answer as it arrives.
func stream(ctx context.Context, out io.Writer, l *lab.Lab) error {
	fmt.Fprintf(out, "\nThe node %q asks it for a stream: caller -> tailnet -> tailscaled -> service -> API\n\n", lab.CallerName)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL("/v1/messages"), strings.NewReader(`{"stream":true}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer sk-ant-oat-demo")
	req.Header.Set(sim.PlanHeader, sim.Plan{Name: "demo", Deltas: 8, Delay: 100 * time.Millisecond}.Encode())
	began := time.Now()
	res, err := l.Caller.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			fmt.Fprintf(out, "    %4d ms  %s\n", time.Since(began).Milliseconds(), name)
		}
	}
	rec, err := l.API.Wait(ctx, "demo")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe API saw anthropic-beta: %s, and the caller's own token.\n", rec.Header.Get("Anthropic-Beta"))
	return nil
}

func health(ctx context.Context, out io.Writer, l *lab.Lab) error {
	code, body, err := l.Proxy.Data(ctx, "/health")
	if err != nil {
		return fmt.Errorf("read health: %w", err)
	}
	fmt.Fprintf(out, "\nGET /health: %d\n    %s\n", code, strings.TrimSpace(body))
	return nil
}

func kill(ctx context.Context, out io.Writer, l *lab.Lab) error {
	fmt.Fprintln(out, "\nNow tailscaled is killed.")
	killed := time.Now()
	l.Sidecar.Kill()
	_, at, err := l.Proxy.AwaitHealth(ctx, func(h lab.Health) bool { return !h.Connected() })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Health knew %d ms later.\n", at.Sub(killed).Milliseconds())
	return health(ctx, out, l)
}

func revive(ctx context.Context, out io.Writer, l *lab.Lab) error {
	fmt.Fprintln(out, "\nNow it is started again.")
	if err := l.Sidecar.Start(); err != nil {
		return err
	}
	running, err := l.Sidecar.Await(ctx, ipn.Running)
	if err != nil {
		return err
	}
	_, at, err := l.Proxy.AwaitHealth(ctx, lab.Health.Connected)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Health knew %d ms after tailscaled itself.\n", max(0, at.Sub(running)).Milliseconds())
	return health(ctx, out, l)
}
