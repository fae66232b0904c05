package tailnet

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// The faults and their cures.

func signal(sig syscall.Signal) func(context.Context, *lab.Lab) error {
	return func(_ context.Context, l *lab.Lab) error {
		l.Sidecar.Signal(sig)
		return nil
	}
}

func restart(ctx context.Context, l *lab.Lab) (time.Time, error) {
	<-l.Sidecar.Exited()
	if err := l.Sidecar.Start(); err != nil {
		return time.Time{}, err
	}
	return l.Sidecar.Await(ctx, ipn.Running)
}

func resume(_ context.Context, l *lab.Lab) (time.Time, error) {
	l.Sidecar.Resume()
	return time.Now(), nil
}

func cutControl(_ context.Context, l *lab.Lab) error {
	l.SidecarControl.Cut()
	return nil
}

func hangControl(_ context.Context, l *lab.Lab) error {
	l.SidecarControl.Hang()
	return nil
}

// openControl waits until tailscaled has its stream again.
func openControl(ctx context.Context, l *lab.Lab) (time.Time, error) {
	l.SidecarControl.Open()
	return awaitOnline(ctx, l)
}

func awaitOnline(ctx context.Context, l *lab.Lab) (time.Time, error) {
	return l.Sidecar.AwaitStatus(ctx, func(st *ipnstate.Status) bool { return !offline(st) && len(st.Health) == 0 })
}

func offline(st *ipnstate.Status) bool { return st.Self == nil || !st.Self.Online }

// warns looks for a part of a health text.
func warns(part string) func(*ipnstate.Status) bool {
	return func(st *ipnstate.Status) bool {
		return slices.ContainsFunc(st.Health, func(text string) bool { return strings.Contains(text, part) })
	}
}

func want(running bool) func(context.Context, *lab.Lab) error {
	return func(ctx context.Context, l *lab.Lab) error { return l.Sidecar.Want(ctx, running) }
}

func wantUp(ctx context.Context, l *lab.Lab) (time.Time, error) {
	if err := l.Sidecar.Want(ctx, true); err != nil {
		return time.Time{}, err
	}
	return l.Sidecar.Await(ctx, ipn.Running)
}

func logout(ctx context.Context, l *lab.Lab) error { return l.Sidecar.Logout(ctx) }

func login(ctx context.Context, l *lab.Lab) (time.Time, error) {
	if err := l.Sidecar.Login(ctx, "lab"); err != nil {
		return time.Time{}, err
	}
	return l.Sidecar.Await(ctx, ipn.Running)
}

func expire(ctx context.Context, l *lab.Lab) error {
	k, err := l.Sidecar.Key(ctx)
	l.Control.ExpireAt(k, time.Now().Add(-time.Minute))
	return err
}

func unexpire(ctx context.Context, l *lab.Lab) (time.Time, error) {
	k, err := l.Sidecar.Key(ctx)
	if err != nil {
		return time.Time{}, err
	}
	l.Control.ExpireAt(k, time.Time{})
	return l.Sidecar.Await(ctx, ipn.Running)
}

func deleteNode(deleted bool) func(context.Context, *lab.Lab) error {
	return func(ctx context.Context, l *lab.Lab) error {
		k, err := l.Sidecar.Key(ctx)
		if err != nil {
			return err
		}
		l.Control.Delete(k, deleted)
		return l.AwaitPeer(ctx, !deleted)
	}
}

func deleteAndCut(ctx context.Context, l *lab.Lab) error {
	if err := deleteNode(true)(ctx, l); err != nil {
		return err
	}
	l.SidecarControl.Cut()
	l.SidecarControl.Open() // it dials again, and is refused
	return nil
}

func undelete(ctx context.Context, l *lab.Lab) (time.Time, error) {
	if err := deleteNode(false)(ctx, l); err != nil {
		return time.Time{}, err
	}
	return awaitOnline(ctx, l)
}

func cutRelay(_ context.Context, l *lab.Lab) error {
	l.Relay.Cut()
	return nil
}

func openRelay(ctx context.Context, l *lab.Lab) (time.Time, error) {
	l.Relay.Open()
	return awaitOnline(ctx, l)
}

func restartAlone(ctx context.Context, l *lab.Lab) error {
	l.SidecarControl.Cut()
	l.Sidecar.Kill()
	return l.Sidecar.Start()
}

func openAndRun(ctx context.Context, l *lab.Lab) (time.Time, error) {
	l.SidecarControl.Open()
	return l.Sidecar.Await(ctx, ipn.Running)
}

func approve(approved bool) func(context.Context, *lab.Lab) error {
	return func(ctx context.Context, l *lab.Lab) error {
		k, err := l.Sidecar.Key(ctx)
		l.Control.Approve(k, approved)
		return err
	}
}

func approveAgain(ctx context.Context, l *lab.Lab) (time.Time, error) {
	if err := approve(true)(ctx, l); err != nil {
		return time.Time{}, err
	}
	return l.Sidecar.Await(ctx, ipn.Running)
}
