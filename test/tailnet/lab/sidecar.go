package lab

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/types/key"
)

// Hostname is the sidecar's name on every lab's tailnet.
const Hostname = "anthropic-oauth-proxy"

// A Sidecar is a real tailscaled in userspace mode, and what a container's
// entry point does to it.
type Sidecar struct {
	*Process // nil while it does not run

	dir       string
	socket    string
	state     string
	control   *Gate
	relayOnly bool
	client    *local.Client
	transport *http.Transport
	former    []*Process // daemons whose socket was taken away, and which live on
}

func newSidecar(dir string, control *Gate, relayOnly bool) *Sidecar {
	s := &Sidecar{dir: dir, control: control, relayOnly: relayOnly, state: filepath.Join(dir, "ts-state")}
	s.socket = filepath.Join(dir, "run", "tailscaled.sock")
	s.client, s.transport = newClient(s.socket)
	return s
}

// Socket is where the daemon listens.
func (s *Sidecar) Socket() string { return s.socket }

// Start runs the daemon and does not log in. An earlier one must have ended.
func (s *Sidecar) Start() error {
	if err := os.MkdirAll(filepath.Dir(s.socket), 0o755); err != nil {
		return err
	}
	binary, err := Tailscaled()
	if err != nil {
		return err
	}
	s.Process, err = startProcess("tailscaled", s.env(), binary, "--tun=userspace-networking", "--statedir="+s.state,
		"--socket="+s.socket, "--port=0", "--no-logs-no-support")
	return err
}

// Supersede starts another daemon, without an identity, at the socket's path,
// while the former one lives on with its socket out of everybody's way.
func (s *Sidecar) Supersede() error {
	s.former = append(s.former, s.Process)
	generation := fmt.Sprintf("%d", len(s.former))
	if err := os.Rename(s.socket, s.socket+"."+generation); err != nil {
		return fmt.Errorf("take the socket away: %w", err)
	}
	s.transport.CloseIdleConnections()
	s.UseStateDir(filepath.Join(s.dir, "ts-state-"+generation))
	return s.Start()
}

// UseStateDir changes where the next Start keeps its state.
func (s *Sidecar) UseStateDir(dir string) { s.state = dir }

func (s *Sidecar) env() []string {
	env := []string{"PATH=/usr/bin:/bin", "HOME=" + s.dir, "TS_LOGS_DIR=" + s.dir}
	for name, value := range isolation {
		env = append(env, name+"="+value)
	}
	if s.relayOnly {
		env = append(env, "TS_DEBUG_ALWAYS_USE_DERP=true")
	}
	return env
}

// Login does what `tailscale up --auth-key` does, without waiting for the end.
func (s *Sidecar) Login(ctx context.Context, authKey string) error {
	if _, err := s.AwaitStatus(ctx, func(*ipnstate.Status) bool { return true }); err != nil {
		return err
	}
	prefs := ipn.NewPrefs()
	prefs.ControlURL = "http://" + s.control.Addr().String()
	prefs.Hostname = Hostname
	prefs.WantRunning = true
	if err := s.client.Start(ctx, ipn.Options{AuthKey: authKey, UpdatePrefs: prefs}); err != nil {
		return fmt.Errorf("start backend: %w", err)
	}
	return s.client.StartLoginInteractive(ctx)
}

// Want is `tailscale up` or `tailscale down` for a node that is logged in.
func (s *Sidecar) Want(ctx context.Context, running bool) error {
	_, err := s.client.EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{WantRunning: running}, WantRunningSet: true})
	return err
}

// Logout is `tailscale logout`.
func (s *Sidecar) Logout(ctx context.Context) error { return s.client.Logout(ctx) }

// Hang stops the daemon as a machine without CPU would; Resume goes on.
func (s *Sidecar) Hang()   { s.Signal(syscall.SIGSTOP) }
func (s *Sidecar) Resume() { s.Signal(syscall.SIGCONT) }

// Status asks the daemon itself, for comparison with what the proxy says.
func (s *Sidecar) Status(ctx context.Context) (*ipnstate.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return s.client.StatusWithoutPeers(ctx)
}

// Key is the node's key, for Control.
func (s *Sidecar) Key(ctx context.Context) (key.NodePublic, error) {
	st, err := s.Status(ctx)
	if err != nil || st.Self == nil {
		return key.NodePublic{}, fmt.Errorf("read node key: %w", err)
	}
	return st.Self.PublicKey, nil
}

// AwaitStatus polls the daemon until its answer is as wanted, and returns when
// it first was.
func (s *Sidecar) AwaitStatus(ctx context.Context, want func(*ipnstate.Status) bool) (time.Time, error) {
	for {
		if st, err := s.Status(ctx); err == nil && want(st) {
			return time.Now(), nil
		}
		if err := pause(ctx, 3*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("await tailscaled's status: %w", err)
		}
	}
}

// Await polls the daemon until it is in a state, and returns when it first was.
func (s *Sidecar) Await(ctx context.Context, state ipn.State) (time.Time, error) {
	return s.AwaitStatus(ctx, func(st *ipnstate.Status) bool {
		return st.BackendState == state.String() && (state != ipn.Running || len(st.TailscaleIPs) > 0)
	})
}

func (s *Sidecar) close() {
	for _, p := range append(s.former, s.Process) {
		if p != nil {
			p.Kill()
		}
	}
	s.transport.CloseIdleConnections()
}
