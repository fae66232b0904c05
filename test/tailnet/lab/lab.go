// Package lab is a whole tailnet on loopback: a coordination server and a relay
// in this process, a real tailscaled with the service's real binary beside it,
// a simulated Claude API behind that, and a caller node in front.
//
// It dials nothing but loopback and leaves nothing behind: Close ends every
// process and removes every file, except for the two binaries, which stay in
// the user's cache directory.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/envknob"

	"anthropic-oauth-proxy/test/sim"
)

// isolation keeps tailscale's code off every other network, in the daemon and
// in this process.
var isolation = map[string]string{
	"TS_NO_LOGS_NO_SUPPORT":         "true",
	"TS_DISABLE_PORTMAPPER":         "1",
	"TS_PANIC_IF_HIT_MAIN_CONTROL":  "1",
	"TS_ASSUME_NETWORK_UP_FOR_TEST": "1",
	"TS_NETCHECK_GENERATE_204_URL":  "http://127.0.0.1:9/generate_204", // discard: nobody answers
}

var isolate = sync.OnceFunc(func() {
	for name, value := range isolation {
		envknob.Setenv(name, value)
	}
})

var quiet = log.New(io.Discard, "", 0)

// Options vary a lab.
type Options struct {
	// Manual leaves the sidecar and the proxy to the test: neither is started.
	Manual bool
	// RelayOnly forbids the sidecar direct paths: all goes through the relay.
	RelayOnly bool
	// Proxy varies the service's configuration.
	Proxy ProxyOptions
}

// A Lab is one tailnet. Its parts may be used by one test at a time.
type Lab struct {
	Dir     string
	Control *Control
	// SidecarControl is the sidecar's way to Control; the caller has its own.
	SidecarControl *Gate
	Relay          *Gate
	Sidecar        *Sidecar
	Caller         *Caller
	API            *sim.API
	Proxy          *Proxy

	others        []*Caller
	derp          *derp
	callerControl *Gate
}

// Start builds what is missing and brings everything up. Close must be called.
func Start(ctx context.Context, o Options) (l *Lab, err error) {
	isolate()
	l = &Lab{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start lab: %w", errors.Join(err, l.Close()))
		}
	}()
	if l.Dir, err = os.MkdirTemp("", "lab-"); err != nil {
		return l, err
	}
	if l.derp, err = startDERP(); err != nil {
		return l, err
	}
	l.Relay = l.derp.gate
	l.Control = startControl(l.derp.relays())
	target := l.Control.http.Listener.Addr().String()
	if l.SidecarControl, err = newGate(target); err != nil {
		return l, err
	}
	if l.callerControl, err = newGate(target); err != nil {
		return l, err
	}
	if l.API, err = sim.Start(sim.Options{Protocol: sim.Plain}); err != nil {
		return l, err
	}
	l.Sidecar = newSidecar(l.Dir, l.SidecarControl, o.RelayOnly)
	if l.Proxy, err = newProxy(l.Dir, l.Sidecar.Socket(), l.API.URL(), o.Proxy); err != nil {
		return l, err
	}
	if o.Manual {
		return l, nil
	}
	return l, l.up(ctx)
}

func (l *Lab) up(ctx context.Context) error {
	if err := l.Sidecar.Start(); err != nil {
		return err
	}
	if err := l.Sidecar.Login(ctx, "lab"); err != nil {
		return err
	}
	if err := l.Proxy.Start(); err != nil {
		return err
	}
	if err := l.StartCaller(ctx); err != nil {
		return err
	}
	if err := l.Proxy.AwaitReady(ctx); err != nil {
		return err
	}
	return l.AwaitPeer(ctx, true)
}

// Share lets other users of the machine run the service in this lab.
func (l *Lab) Share() error {
	return errors.Join(os.Chmod(l.Dir, 0o755), os.Chmod(l.Proxy.config, 0o644))
}

// AwaitPeer returns when the caller's map has the sidecar, or has it not.
func (l *Lab) AwaitPeer(ctx context.Context, present bool) error {
	return l.Caller.awaitPeer(ctx, Hostname, present)
}

// StartCaller adds the calling node. An earlier one must have left; it is
// forgotten, so that its name means the new one.
func (l *Lab) StartCaller(ctx context.Context) (err error) {
	if l.Caller != nil {
		l.Control.Delete(l.Caller.key, true)
	}
	l.Caller, err = startCaller(ctx, l.Dir, CallerName, []string{CallerTag}, l.callerControl)
	return err
}

// Join adds one more node, which the lab's end takes off the tailnet.
func (l *Lab) Join(ctx context.Context, name string, tags ...string) (*Caller, error) {
	c, err := startCaller(ctx, l.Dir, name, tags, l.callerControl)
	if err == nil {
		l.others = append(l.others, c)
	}
	return c, err
}

// URL is the proxy's address as the caller knows it.
func (l *Lab) URL(path string) string {
	return fmt.Sprintf("http://%s:%d%s", Hostname, l.Proxy.Port(), path)
}

// Reachable reports whether the caller gets any answer through the tailnet
// within the time.
func (l *Lab) Reachable(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL("/health"), nil)
	if err != nil {
		return err
	}
	res, err := l.Caller.HTTP.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	return nil
}

// Close ends and removes everything.
func (l *Lab) Close() error {
	if l.Proxy != nil {
		l.Proxy.close()
	}
	if l.Sidecar != nil {
		l.Sidecar.close()
	}
	for _, g := range []*Gate{l.SidecarControl, l.callerControl} {
		if g != nil {
			g.Open() // a node that leaves wants to say so
		}
	}
	for _, c := range append(l.others, l.Caller) {
		if c != nil {
			c.Leave()
		}
	}
	if l.Control != nil {
		l.Control.close()
	}
	for _, g := range []*Gate{l.SidecarControl, l.callerControl} {
		if g != nil {
			g.Close()
		}
	}
	if l.derp != nil {
		l.derp.close()
	}
	if l.API != nil {
		l.API.Close()
	}
	return os.RemoveAll(l.Dir)
}

// newClient talks to a daemon's socket and dials it anew after every failure.
func newClient(socket string) (*local.Client, *http.Transport) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("reach tailscaled: %w", err)
		}
		return c, nil
	}}
	return &local.Client{Transport: transport, Socket: socket, UseSocketOnly: true, OmitAuth: true}, transport
}

// pause sleeps, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
