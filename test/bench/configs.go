package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"anthropic-oauth-proxy/test/sim"
)

// ours runs with all that production has: metrics, and an access log that is
// written to a file.
func ours(name, binary string) peer {
	return peer{name, true, true, func(at place) ([]string, []string, error) {
		file, err := write(at.dir, "proxy.toml", fmt.Sprintf(`
[tailscale]
mode = "off"
[proxy]
listen_addr = %q
admin_addr = %q
upstream_url = %q
max_connections = 12000
[[headers]]
name = "anthropic-beta"
value = "oauth-2025-04-20"
`, at.listen, at.admin, at.up.url()))
		return []string{binary, "serve", "--config", file}, []string{"SSL_CERT_FILE=" + at.up.caFile}, err
	}}
}

func reverseProxy(binary string) peer {
	return peer{"ReverseProxy", true, false, func(at place) ([]string, []string, error) {
		return []string{binary, at.listen, at.up.url()}, []string{"SSL_CERT_FILE=" + at.up.caFile}, nil
	}}
}

func nginx(binary string) peer {
	return peer{"nginx", false, false, func(at place) ([]string, []string, error) {
		scheme, verify := "http", ""
		if at.up.protocol != sim.Plain {
			scheme = "https"
			verify = "proxy_ssl_verify on; proxy_ssl_session_reuse on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate " + at.up.caFile + ";"
		}
		log := "access_log off;"
		if at.logs { // its lines share writes, as ours do
			log = `log_format line escape=json '{"time":"$time_iso8601","method":"$request_method","path":"$uri","status":$status,"duration":$request_time,' ` +
				`'"upstream_duration":"$upstream_response_time","received":$request_length,"sent":$bytes_sent,"client":"$remote_addr","agent":"$http_user_agent"}'; ` +
				"access_log " + at.dir + "/access.log line buffer=32k flush=1s;"
		}
		file, err := write(at.dir, "nginx.conf", strings.NewReplacer("DIR", at.dir, "LOG", log, "API", at.up.addr, "LISTEN", at.listen,
			"SCHEME", scheme, "VERIFY", verify).Replace(`
daemon off; master_process off; user root; worker_processes 1; worker_rlimit_nofile 20000; pid DIR/pid; error_log DIR/error.log crit;
events { worker_connections 24000; } # a sixteenth is kept free
http {
	LOG keepalive_requests 100000000; client_max_body_size 1g;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
	upstream api { server API; keepalive 1024; keepalive_requests 100000000; }
	server {
		listen LISTEN;
		location / {
			proxy_pass SCHEME://api; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s; VERIFY
		}
	}
}
`))
		return []string{binary, "-c", file, "-e", filepath.Join(at.dir, "error.log"), "-p", at.dir}, nil, err
	}}
}

func haproxy(binary string) peer {
	return peer{"HAProxy", true, false, func(at place) ([]string, []string, error) {
		server := at.up.addr
		switch at.up.protocol {
		case sim.TLS1:
			server += " ssl verify required ca-file " + at.up.caFile + " alpn http/1.1 sni str(localhost) verifyhost localhost"
		case sim.TLS2:
			server += " ssl verify required ca-file " + at.up.caFile + " alpn h2 sni str(localhost) verifyhost localhost"
		}
		global, defaults := "", ""
		if at.logs { // to standard output, which is a file
			global, defaults = "log stdout format raw local0", "log global\n\toption httplog"
		}
		file, err := write(at.dir, "haproxy.cfg", fmt.Sprintf(`
global
	nbthread 1
	maxconn 12000
	no strict-limits
	%s
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 600s
	option abortonclose
	option http-no-delay
	http-reuse always
	%s
frontend front
	bind %s
	default_backend api
backend api
	server api %s
`, global, defaults, at.listen, server))
		return []string{binary, "-db", "-f", file}, nil, err
	}}
}

func caddy(binary string) peer {
	return peer{"Caddy", true, false, func(at place) ([]string, []string, error) {
		transport, log := "", ""
		switch at.up.protocol {
		case sim.TLS1:
			transport = "transport http {\nversions 1.1\ntls_trust_pool file " + at.up.caFile + "\n}"
		case sim.TLS2:
			transport = "transport http {\nversions 2\ntls_trust_pool file " + at.up.caFile + "\n}"
		}
		if at.logs {
			log = "log {\noutput file " + at.dir + "/access.log\n}"
		}
		file, err := write(at.dir, "Caddyfile", fmt.Sprintf(`{
	admin off
	auto_https off
}
http://:%s {
	bind 127.0.0.1
	%s
	reverse_proxy %s {
		flush_interval -1
		%s
	}
}
`, strings.TrimPrefix(at.listen, "127.0.0.1:"), log, at.up.url(), transport))
		return []string{binary, "run", "--adapter", "caddyfile", "--config", file}, nil, err
	}}
}

func write(dir, name, text string) (path string, err error) {
	path = filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
