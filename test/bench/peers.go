package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/test/harness"
)

// proxyCore and benchCore are the two cores of a measurement: the proxies have
// one to themselves, load and upstream share the other.
const (
	proxyCore = "0"
	benchCore = "1"
)

// A peer is a proxy that can be measured. Its command writes what configuration
// it needs and is what to run, before pinning.
type peer struct {
	name    string
	http2   bool // whether it speaks HTTP/2 to the upstream
	metrics bool // whether it serves /metrics
	command func(place) (argv, env []string, err error)
}

// A place is where a peer runs and what is asked of it there.
type place struct {
	dir    string // its own
	listen string
	admin  string // where it may serve /metrics
	up     *upstream
	logs   bool // whether it writes an access log; ours always does
}

// A running peer is one process tree that proxies to one upstream.
type running struct {
	peer  string
	addr  string
	admin string // "" when it serves no /metrics
	pid   int
	stop  func()
}

// launch starts a peer, pinned, and waits until it accepts connections.
func (b *bench) launch(p peer, up *upstream) (*running, error) {
	ports, err := testkit.FreePorts(2)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return nil, err
	}
	at := place{home, "127.0.0.1:" + strconv.Itoa(ports[0]), "127.0.0.1:" + strconv.Itoa(ports[1]), up, b.logs}
	argv, env, err := p.command(at)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command("taskset", append([]string{"-c", proxyCore}, argv...)...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/bin", "HOME=" + home}, env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = home, log, log
	cmd.SysProcAttr = harness.DieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	r := &running{peer: p.name, addr: at.listen, pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Signal(os.Interrupt) // nginx and HAProxy end their children on it
		done := make(chan struct{})
		go func() { defer close(done); _ = cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(2 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	}}
	if p.metrics {
		r.admin = at.admin
	}
	if err := r.awaitAccept(); err != nil {
		r.stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start %s: %w\n%s", p.name, err, text)
	}
	return r, nil
}

func (r *running) awaitAccept() error {
	var err error
	for range 500 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", r.addr); err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// peers lists what is there to measure, our binary first.
func peers(o options, dir string) ([]peer, error) {
	binary, err := harness.Build(dir)
	if err != nil {
		return nil, err
	}
	bare := filepath.Join(dir, "reverseproxy")
	if out, err := exec.Command("go", "build", "-o", bare, "anthropic-oauth-proxy/test/bench/reverseproxy").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build reverseproxy: %w\n%s", err, out)
	}
	list := []peer{ours("ours", binary)}
	if o.beside != "" {
		other, err := filepath.Abs(o.beside)
		if err != nil {
			return nil, err
		}
		list = append(list, ours("beside", other))
	}
	list = append(list, reverseProxy(bare))
	if path, err := exec.LookPath("/usr/sbin/nginx"); err == nil {
		list = append(list, nginx(path))
	}
	if path, err := exec.LookPath("/usr/sbin/haproxy"); err == nil {
		list = append(list, haproxy(path))
	}
	if path, err := findCaddy(o.caddy); err != nil {
		return nil, err
	} else if path != "" {
		list = append(list, caddy(path))
	}
	return list, nil
}
