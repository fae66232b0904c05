//go:build interop

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// A server is somebody's HTTP server. Those that are proxies stand before the
// Go origin; the others serve its pages themselves.
type server struct {
	name    string
	needs   string // a program or file
	reload  syscall.Signal
	command func(s site) (argv, env []string, err error)
}

// A site is where a server finds what it needs.
type site struct {
	dir      string // also holds cert.pem, key.pem and both.pem
	addr     string
	port     string
	origin   string // host:port
	protocol string // h2 or http/1.1
}

func (s site) file(name string) string { return filepath.Join(s.dir, name) }

func (s site) write(name, text string) (string, error) {
	return s.file(name), os.WriteFile(s.file(name), []byte(text), 0o600)
}

var servers = []server{
	{"nginx", "/usr/sbin/nginx", syscall.SIGHUP, nginx},
	{"haproxy", "/usr/sbin/haproxy", syscall.SIGUSR2, haproxy},
	{"apache", "/usr/sbin/apache2", syscall.SIGUSR1, apache},
	{"nghttpx", "/usr/sbin/nghttpx", 0, nghttpx},
	{"lighttpd", "/usr/lib/lighttpd/mod_openssl.so", syscall.SIGUSR1, lighttpd},
	{"node", "/usr/bin/node", 0, node},
	{"hypercorn", "/usr/bin/hypercorn", 0, hypercorn},
	{"tomcat", "/usr/share/java/tomcat10-embed-core.jar", 0, tomcat},
}

func nginx(s site) ([]string, []string, error) {
	h2 := map[string]string{"h2": "http2"}[s.protocol]
	file, err := s.write("nginx.conf", fmt.Sprintf(`
daemon off; user root; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
	access_log off; client_max_body_size 0;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen %[2]s ssl %[3]s; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
		location / { proxy_pass http://%[4]s; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; }
	}
}`, s.dir, s.addr, h2, s.origin))
	return []string{"/usr/sbin/nginx", "-c", file, "-e", s.file("error.log"), "-p", s.dir}, nil, err
}

func haproxy(s site) ([]string, []string, error) {
	file, err := s.write("haproxy.cfg", fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	option abortonclose
frontend front
	bind %s ssl crt %s alpn %s
	default_backend origin
backend origin
	server origin %s
`, s.addr, s.file("both.pem"), s.protocol, s.origin))
	return []string{"/usr/sbin/haproxy", "-W", "-db", "-f", file}, nil, err
}

func apache(s site) ([]string, []string, error) {
	var load strings.Builder
	for _, m := range []string{"mpm_event", "authz_core", "ssl", "http2", "proxy", "proxy_http", "socache_shmcb"} {
		fmt.Fprintf(&load, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	file, err := s.write("apache.conf", load.String()+fmt.Sprintf(`
ServerRoot %[1]s
ServerName localhost
PidFile %[1]s/pid
ErrorLog %[1]s/error.log
DefaultRuntimeDir %[1]s
User www-data
Group www-data
Listen %[2]s
Protocols %[3]s
SSLEngine on
SSLCertificateFile %[1]s/cert.pem
SSLCertificateKeyFile %[1]s/key.pem
KeepAliveTimeout 60
ProxyPass / http://%[4]s/ flushpackets=on
`, s.dir, s.addr, s.protocol, s.origin))
	return []string{"/usr/sbin/apache2", "-f", file, "-DFOREGROUND"}, nil, err
}

func nghttpx(s site) ([]string, []string, error) {
	host, port, err := net.SplitHostPort(s.origin)
	return []string{"/usr/sbin/nghttpx", "--conf=/dev/null", "-f127.0.0.1," + s.port, "-b" + host + "," + port, "--npn-list=" + s.protocol,
		"--no-ocsp", "--workers=1", s.file("key.pem"), s.file("cert.pem")}, nil, err
}

func lighttpd(s site) ([]string, []string, error) {
	h2 := map[string]string{"h2": "enable", "http/1.1": "disable"}[s.protocol]
	host, port, err := net.SplitHostPort(s.origin)
	if err != nil {
		return nil, nil, err
	}
	file, err := s.write("lighttpd.conf", fmt.Sprintf(`
server.document-root = "%[1]s"
server.bind = "127.0.0.1"
server.port = %[2]s
server.errorlog = "%[1]s/error.log"
server.modules = ("mod_openssl", "mod_proxy")
server.feature-flags = ("server.h2proto" => "%[3]s", "server.graceful-shutdown-timeout" => 5)
server.stream-request-body = 2
server.stream-response-body = 2
ssl.engine = "enable"
ssl.pemfile = "%[1]s/cert.pem"
ssl.privkey = "%[1]s/key.pem"
proxy.server = ("" => (("host" => "%[4]s", "port" => %[5]s)))
`, s.dir, s.port, h2, host, port))
	return []string{"/usr/sbin/lighttpd", "-D", "-f", file}, nil, err
}

func node(s site) ([]string, []string, error) {
	script, err := filepath.Abs("testdata/node.js")
	return []string{"/usr/bin/node", script, s.port, s.file("key.pem"), s.file("cert.pem"), "http://" + s.origin, s.protocol}, nil, err
}

func hypercorn(s site) ([]string, []string, error) {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		return nil, nil, err
	}
	file, err := s.write("conf.py", fmt.Sprintf("alpn_protocols = [%q]\nbind = [%q]\ncertfile = %q\nkeyfile = %q\n",
		s.protocol, s.addr, s.file("cert.pem"), s.file("key.pem")))
	return []string{"/usr/bin/hypercorn", "-c", "file:" + file, "app:app"},
		[]string{"ORIGIN=http://" + s.origin, "PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}, err
}

func tomcat(s site) ([]string, []string, error) {
	const jars = "/usr/share/java/tomcat10-embed-core.jar:/usr/share/java/tomcat10-embed-el.jar:/usr/share/java/jakarta-annotation-api.jar"
	if out, err := exec.Command("javac", "-cp", jars, "-d", s.dir, "testdata/Origin.java").CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("compile: %w\n%s", err, out)
	}
	return []string{"java", "-cp", jars + ":" + s.dir, "Origin", s.port, s.dir, s.dir, "http://" + s.origin, s.protocol}, nil, nil
}

// running is a started server.
type running struct {
	site
	cmd *exec.Cmd
	log string
}

// run starts a server until the test ends, or skips the test without it.
func (v server) run(t *testing.T, ca *sim.CA, origin, protocol string) *running {
	t.Helper()
	if _, err := os.Stat(v.needs); err != nil {
		t.Skipf("%s is not installed: %v", v.name, err)
	}
	ports, err := testkit.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s := site{dir: t.TempDir(), port: fmt.Sprint(ports[0]), origin: origin, protocol: protocol}
	s.addr = "127.0.0.1:" + s.port
	writeKeys(t, ca, s)
	argv, env, err := v.command(s)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.file("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.dir}, env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, harness.DieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{site: s, cmd: cmd, log: log.Name()}
	t.Cleanup(r.stop)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
			return r
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(r.log)
			t.Fatalf("%s did not start: %v\n%s", v.name, err, text)
		}
	}
}

func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { defer close(done); _ = r.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-done
	}
}

// writeKeys puts the server's certificate and key where servers look for them.
func writeKeys(t *testing.T, ca *sim.CA, s site) {
	t.Helper()
	config, err := ca.ServerConfig(s.protocol)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := encode(t, config.Certificates[0])
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key, "both.pem": append(cert, key...)} {
		if err := os.WriteFile(s.file(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func encode(t *testing.T, c tls.Certificate) (cert, key []byte) {
	t.Helper()
	for _, der := range c.Certificate {
		cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
