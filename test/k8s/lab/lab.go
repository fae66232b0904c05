// Package lab starts the one-node Kubernetes beside the checkout and ends it,
// also one that a killed run left behind.
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Lab is a place where a one-node Kubernetes can run.
type Lab struct {
	Scripts string // the directory of up.sh and down.sh
	State   string // the directory of what they keep
	Network string // the network namespace that the cluster lives in
}

// At is the lab whose scripts stand in a directory. Like them it heeds K8S_LAB.
func At(scripts string) (Lab, error) {
	scripts, err := filepath.Abs(scripts)
	if err != nil {
		return Lab{}, err
	}
	l := Lab{Scripts: scripts, State: os.Getenv("K8S_LAB"), Network: "/run/netns/k8slab"}
	if l.State == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return Lab{}, err
		}
		l.State = filepath.Join(cache, "k8s-lab")
	}
	return l, nil
}

// Start starts the cluster and returns what ends it. Until then the cluster is
// this process's: the claim to it is a lock, which goes with the process however
// that ends. What a run that is gone left behind is ended first. A cluster that
// another run uses, or that somebody started by hand, is left alone: an error.
func (l Lab) Start() (end func() error, err error) {
	claim, err := l.claim()
	if err != nil {
		return nil, err
	}
	if err := l.clear(claim); err != nil {
		return nil, errors.Join(err, claim.Close())
	}
	end = func() error {
		defer claim.Close()
		if err := l.script("down.sh"); err != nil {
			return err
		}
		return claim.Truncate(0)
	}
	if _, err := claim.WriteAt([]byte("a cluster test started this lab\n"), 0); err != nil {
		return nil, errors.Join(err, claim.Close())
	}
	if err := l.script("up.sh"); err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}

// claim locks the file that says whose the cluster is.
func (l Lab) claim() (*os.File, error) {
	if err := os.MkdirAll(l.State, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(l.State, "claim"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another cluster test uses the lab (%s is locked): wait for its end", f.Name())
	}
	return f, nil
}

// clear ends what is left of a cluster whose owner is gone.
func (l Lab) clear(claim *os.File) error {
	left, err := l.left()
	if err != nil || !left {
		return err
	}
	mark, err := claim.Stat()
	if err != nil {
		return err
	}
	living, err := l.living()
	if err != nil {
		return err
	}
	if mark.Size() == 0 && len(living) > 0 {
		return fmt.Errorf("a lab that no cluster test started is up: end it with %s/down.sh", l.Scripts)
	}
	if err := l.forget(living); err != nil {
		return err
	}
	if err := l.script("down.sh"); err != nil {
		return fmt.Errorf("end the lab that a killed run left: %w", err)
	}
	return nil
}

// left tells whether there is anything of a cluster: its network, or, after a
// reboot, only the list of its processes.
func (l Lab) left() (bool, error) {
	for _, trace := range []string{l.Network, l.pids()} {
		_, err := os.Stat(trace)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// living are the process IDs that live in the cluster's network.
func (l Lab) living() (map[string]bool, error) {
	network, err := os.Stat(l.Network)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	living := make(map[string]bool)
	for _, p := range processes {
		if of, err := os.Stat(p); err == nil && os.SameFile(network, of) {
			living[strings.Split(p, "/")[2]] = true
		}
	}
	return living, nil
}

// forget takes from the list of the cluster's processes those that are dead:
// their numbers may be those of others by now, and down.sh kills by number.
func (l Lab) forget(living map[string]bool) error {
	list, err := os.ReadFile(l.pids())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(list)) {
		if _, pid, _ := strings.Cut(strings.TrimSpace(line), " "); living[pid] {
			kept.WriteString(line)
		}
	}
	if err := os.MkdirAll(filepath.Dir(l.pids()), 0o755); err != nil {
		return err
	}
	return os.WriteFile(l.pids(), []byte(kept.String()), 0o644)
}

func (l Lab) pids() string { return filepath.Join(l.State, "node", "pids") }

func (l Lab) script(name string) error { return Run(filepath.Join(l.Scripts, name)) }

// Run runs a program to its end and shows what it says.
func Run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
