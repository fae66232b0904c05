package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// proxyCore and benchCore are the two cores of a measurement: the proxies have
// one to themselves, load and upstream share the other.
const (
	proxyCore = "0"
	benchCore = "1"
)

// A peer is a proxy that can be measured. Its launch writes what configuration
// it needs into dir and returns the command to run, before pinning.
type peer struct {
	name    string
	http2   bool // whether it speaks HTTP/2 to the upstream
	command func(dir, listen string, up *upstream) (argv, env []string, err error)
}

// A running peer is one process tree that proxies to one upstream.
type running struct {
	peer string
	addr string
	pid  int
	stop func()
}

// launch starts a peer, pinned, and waits until it accepts connections.
func (p peer) launch(dir string, up *upstream) (*running, error) {
	ports, err := testkit.FreePorts(1)
	if err != nil {
		return nil, err
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	home, err := os.MkdirTemp(dir, p.name+"-")
	if err != nil {
		return nil, err
	}
	argv, env, err := p.command(home, addr, up)
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
	r := &running{peer: p.name, addr: addr, pid: cmd.Process.Pid, stop: func() {
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

// ours runs with all that production has: metrics, and an access log that is
// written to a file.
func ours(name, binary string) peer {
	return peer{name, true, func(dir, listen string, up *upstream) ([]string, []string, error) {
		admin, err := testkit.FreePorts(1)
		if err != nil {
			return nil, nil, err
		}
		file, err := write(dir, "proxy.toml", fmt.Sprintf(`
[tailscale]
mode = "off"
[proxy]
listen_addr = %q
admin_addr = "127.0.0.1:%d"
upstream_url = %q
max_connections = 10000
[[headers]]
name = "anthropic-beta"
value = "oauth-2025-04-20"
`, listen, admin[0], up.url()))
		return []string{binary, "serve", "--config", file}, []string{"SSL_CERT_FILE=" + up.caFile}, err
	}}
}

func reverseProxy(binary string) peer {
	return peer{"ReverseProxy", true, func(_, listen string, up *upstream) ([]string, []string, error) {
		return []string{binary, listen, up.url()}, []string{"SSL_CERT_FILE=" + up.caFile}, nil
	}}
}

func nginx(binary string) peer {
	return peer{"nginx", false, func(dir, listen string, up *upstream) ([]string, []string, error) {
		scheme, verify := "http", ""
		if up.protocol != sim.Plain {
			scheme = "https"
			verify = "proxy_ssl_verify on; proxy_ssl_session_reuse on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate " + up.caFile + ";"
		}
		file, err := write(dir, "nginx.conf", fmt.Sprintf(`
daemon off; master_process off; user root; worker_processes 1; worker_rlimit_nofile 20000; pid %s/pid; error_log %s/error.log crit;
events { worker_connections 20000; }
http {
	access_log off; keepalive_requests 100000000; client_max_body_size 1g;
	client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;
	upstream api { server %s; keepalive 1024; keepalive_requests 100000000; }
	server {
		listen %s;
		location / {
			proxy_pass %s://api; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s; %s
		}
	}
}
`, dir, dir, dir, dir, dir, dir, dir, up.addr, listen, scheme, verify))
		return []string{binary, "-c", file, "-e", filepath.Join(dir, "error.log"), "-p", dir}, nil, err
	}}
}

func haproxy(binary string) peer {
	return peer{"HAProxy", true, func(dir, listen string, up *upstream) ([]string, []string, error) {
		server := up.addr
		switch up.protocol {
		case sim.TLS1:
			server += " ssl verify required ca-file " + up.caFile + " alpn http/1.1 sni str(localhost) verifyhost localhost"
		case sim.TLS2:
			server += " ssl verify required ca-file " + up.caFile + " alpn h2 sni str(localhost) verifyhost localhost"
		}
		file, err := write(dir, "haproxy.cfg", fmt.Sprintf(`
global
	nbthread 1
	maxconn 9000
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 600s
	option abortonclose
	option http-no-delay
	http-reuse always
frontend front
	bind %s
	default_backend api
backend api
	server api %s
`, listen, server))
		return []string{binary, "-db", "-f", file}, nil, err
	}}
}

func caddy(binary string) peer {
	return peer{"Caddy", true, func(dir, listen string, up *upstream) ([]string, []string, error) {
		transport := ""
		switch up.protocol {
		case sim.TLS1:
			transport = "transport http {\nversions 1.1\ntls_trust_pool file " + up.caFile + "\n}"
		case sim.TLS2:
			transport = "transport http {\nversions 2\ntls_trust_pool file " + up.caFile + "\n}"
		}
		file, err := write(dir, "Caddyfile", fmt.Sprintf(`{
	admin off
	auto_https off
}
http://:%s {
	bind 127.0.0.1
	reverse_proxy %s {
		flush_interval -1
		%s
	}
}
`, strings.TrimPrefix(listen, "127.0.0.1:"), up.url(), transport))
		return []string{binary, "run", "--adapter", "caddyfile", "--config", file}, nil, err
	}}
}

func write(dir, name, text string) (path string, err error) {
	path = filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
