package tailnet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"

	"anthropic-oauth-proxy/test/tailnet/lab"
)

// The sidecar and the service of a pod start together, in any order.
func TestStartWaits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		pause   time.Duration // before the daemon starts
		idle    time.Duration // before it logs in
		waitFor string        // the last reason while waiting
	}{
		{"socket absent for 20 s", 20 * time.Second, 0, "socket_absent"},
		{"daemon up, not logged in", 0, 4 * time.Second, "needs_login"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, l := start(t, 90*time.Second, lab.Options{Manual: true})
			begin(t, l)
			time.Sleep(tc.pause)
			if tc.pause > 0 {
				stillWaits(t, ctx, l, tc.waitFor)
			}
			if err := l.Sidecar.Start(); err != nil {
				t.Fatal(err)
			}
			if tc.idle > 0 {
				time.Sleep(tc.idle)
				stillWaits(t, ctx, l, tc.waitFor)
			}
			if err := l.Sidecar.Login(ctx, "lab"); err != nil {
				t.Fatal(err)
			}
			running, err := l.Sidecar.Await(ctx, ipn.Running)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Proxy.AwaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			if late := time.Since(running); late > pollInterval/2+slack {
				t.Errorf("ready %v after tailscaled", late)
			}
			if err := l.StartCaller(ctx); err != nil {
				t.Fatal(err)
			}
			awaitReachable(t, ctx, l)
			if n := strings.Count(l.Proxy.Logs(), "tailnet_waiting"); n == 0 || n > 12 {
				t.Errorf("%d lines about the waiting, want a few", n)
			}
		})
	}
}

func begin(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.Proxy.Start(); err != nil {
		t.Fatal(err)
	}
}

func stillWaits(t *testing.T, ctx context.Context, l *lab.Lab, reason string) {
	t.Helper()
	wantMetric(t, ctx, l, `lifecycle_state{state="connecting_tailnet"}`, 1)
	h, err := l.Proxy.Health(ctx)
	if err != nil || h.Code != 503 || h.Reason != reason {
		t.Errorf("health while waiting: %+v, %v; want 503 and %s", h, err, reason)
	}
	awaitLog(t, ctx, l, reason)
	if _, _, err := l.Proxy.Data(ctx, "/health"); err == nil {
		t.Error("the data plane listens before the tailnet is there")
	}
}

// What does not heal ends the start: at once where a person is needed, else
// when the budget is used up. Exit 1, and the remedy is the last thing said.
func TestStartThatFails(t *testing.T) {
	t.Parallel()
	const budget = 4 * time.Second
	for _, tc := range []struct {
		name    string
		prepare func(*testing.T, context.Context, *lab.Lab)
		atOnce  bool
		remedy  string // a part of the message
	}{
		{"machine approval wanted", wantApproval, true, "approve"},
		{"bad auth key", badAuthKey, false, "auth key"},
		{"bad state directory", badStateDir, false, "state"},
		{"socket never comes", func(*testing.T, context.Context, *lab.Lab) {}, false, "socket"},
		{"socket without permission", lockSocket, true, "permission"},
		{"a directory in the socket's place", noSocket, true, "mount its directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			options := lab.ProxyOptions{Tailscale: fmt.Sprintf("connect_timeout_secs = %d", budget/time.Second)}
			ctx, l := start(t, time.Minute, lab.Options{Manual: true, Proxy: options})
			tc.prepare(t, ctx, l)
			began := time.Now()
			if err := l.Proxy.StartAs(unprivileged(t, l)...); err != nil {
				t.Fatal(err)
			}
			select {
			case <-l.Proxy.Exited():
			case <-time.After(budget + 15*time.Second):
				t.Fatal("the start goes on")
			}
			took := time.Since(began)
			if strings.Contains(l.Proxy.Logs(), "process_stalled") {
				took -= pollInterval + 2*time.Second // a busy machine: the service waits for one more look
			}
			if code := l.Proxy.ExitCode(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if tc.atOnce && took > 2*time.Second || !tc.atOnce && (took > budget+2*time.Second || time.Since(began) < budget-time.Second) {
				t.Errorf("ended after %v, with a budget of %v (at once: %v)", took, budget, tc.atOnce)
			}
			log := strings.TrimSpace(l.Proxy.Logs())
			if last := log[strings.LastIndex(log, "\n")+1:]; !strings.Contains(strings.ToLower(log), tc.remedy) {
				t.Errorf("nothing about %q was said; the last words: %s", tc.remedy, last)
			}
		})
	}
}

// A pod that ended for want of approval starts again and finds it given.
func TestStartAfterApproval(t *testing.T) {
	t.Parallel()
	ctx, l := start(t, time.Minute, lab.Options{Manual: true})
	wantApproval(t, ctx, l)
	begin(t, l)
	if code := l.Proxy.ExitCode(); code != 1 {
		t.Fatalf("exit code %d before the approval, want 1", code)
	}
	key, err := l.Sidecar.Key(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Control.Approve(key, true)
	if _, err := l.Sidecar.Await(ctx, ipn.Running); err != nil {
		t.Fatal(err)
	}
	begin(t, l)
	if err := l.Proxy.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func wantApproval(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	l.Control.RequireApproval()
	logIn(t, ctx, l, func(st *ipnstate.Status) bool { return st.BackendState == ipn.NeedsMachineAuth.String() })
}

func badAuthKey(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	l.Control.RequireAuthKey("another")
	logIn(t, ctx, l, warns("invalid authkey"))
}

func badStateDir(t *testing.T, _ context.Context, l *lab.Lab) {
	t.Helper()
	file := filepath.Join(l.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.Sidecar.UseStateDir(filepath.Join(file, "state"))
	if err := l.Sidecar.Start(); err != nil {
		t.Fatal(err)
	}
}

// lockSocket leaves a healthy daemon whose socket lies in a directory that the
// service may not enter.
func lockSocket(t *testing.T, ctx context.Context, l *lab.Lab) {
	t.Helper()
	logIn(t, ctx, l, func(st *ipnstate.Status) bool { return st.BackendState == ipn.Running.String() })
	dir := filepath.Dir(l.Sidecar.Socket())
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(dir, 0o755); err != nil { // or nobody but root could remove it
			t.Error(err)
		}
	})
}

// noSocket is what a container runtime leaves where a socket is mounted before
// there is one.
func noSocket(t *testing.T, _ context.Context, l *lab.Lab) {
	t.Helper()
	if err := os.MkdirAll(l.Sidecar.Socket(), 0o755); err != nil {
		t.Fatal(err)
	}
}

func logIn(t *testing.T, ctx context.Context, l *lab.Lab, until func(*ipnstate.Status) bool) {
	t.Helper()
	if err := l.Sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	if err := l.Sidecar.Login(ctx, "lab"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sidecar.AwaitStatus(ctx, until); err != nil {
		t.Fatal(err)
	}
}

// unprivileged is the command that makes root somebody else: root may enter
// every directory.
func unprivileged(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("root without setpriv cannot lose its rights")
	}
	if err := l.Share(); err != nil {
		t.Fatal(err)
	}
	return []string{setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--"}
}
