package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/testkit"
)

// ProxyOptions are lines of the service's configuration.
type ProxyOptions struct {
	Tailscale string // further lines of [tailscale]
	Proxy     string // further lines of [proxy]
	LogLevel  string
	Port      int // wished for the data plane; a free one if it is 0 or taken
}

// A Proxy is the service's binary in its sidecar mode.
type Proxy struct {
	*Process // nil before Start

	dir, socket, config string
	logLevel            string
	port, admin         int
	client              *http.Client
}

func newProxy(dir, socket, upstream string, o ProxyOptions) (*Proxy, error) {
	ports, err := testkit.FreePorts(2)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		dir: dir, socket: socket, port: ports[0], admin: ports[1], logLevel: o.LogLevel,
		client: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second},
	}
	if o.Port != 0 && isFree(o.Port) {
		p.port = o.Port
	}
	p.config = filepath.Join(dir, "proxy.toml")
	text := fmt.Sprintf("[tailscale]\nmode = \"sidecar\"\nsocket = %q\n%s\n\n[proxy]\nlisten_addr = \"127.0.0.1:%d\"\nadmin_addr = \"127.0.0.1:%d\"\nupstream_url = %q\n%s\n",
		socket, o.Tailscale, p.port, p.admin, upstream, o.Proxy)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return p, nil
}

func isFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// Start runs the service and waits for nothing.
func (p *Proxy) Start() error { return p.StartAs() }

// StartAs runs the service through a command that execs it, such as setpriv.
func (p *Proxy) StartAs(wrap ...string) error {
	binary, err := ProxyBinary()
	if err != nil {
		return err
	}
	env := []string{"PATH=/usr/bin:/bin", "HOME=" + p.dir}
	if p.logLevel != "" {
		env = append(env, "LOG_LEVEL="+p.logLevel)
	}
	p.Process, err = startProcess("anthropic-oauth-proxy", env, append(wrap, binary, "serve", "--config", p.config)...)
	return err
}

// Port is the data plane's port on 127.0.0.1.
func (p *Proxy) Port() int { return p.port }

// Health is the health page as JSON.
type Health struct {
	Code     int      `json:"-"` // the status code; 0 when nobody answered
	Status   string   `json:"status"`
	Tailnet  string   `json:"tailnet"`
	Hostname string   `json:"tailnet_hostname"`
	DNSName  string   `json:"tailnet_dns_name"`
	IP       string   `json:"tailnet_ip"`
	Reason   string   `json:"tailnet_reason"`
	Detail   string   `json:"tailnet_detail"`
	Since    any      `json:"tailnet_since"`
	Impaired []string `json:"tailnet_impaired"`
	// KeyExpiry is when the node's key ends; zero when it does not.
	KeyExpiry time.Time `json:"tailnet_key_expiry"`
}

// Connected reports whether health says that all is well, warnings or not.
func (h Health) Connected() bool { return h.Code == http.StatusOK && h.Tailnet == "connected" }

// Health asks on the admin port, which answers from the first moment on.
func (p *Proxy) Health(ctx context.Context) (Health, error) {
	code, body, err := p.Admin(ctx, "/health")
	if err != nil {
		return Health{}, err
	}
	h := Health{Code: code}
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		return h, fmt.Errorf("read health: %w", err)
	}
	return h, nil
}

// Admin fetches a page of the admin server.
func (p *Proxy) Admin(ctx context.Context, path string) (code int, body string, err error) {
	return p.get(ctx, p.admin, path)
}

// Data fetches a page of the data plane, from beside it and not through the
// tailnet.
func (p *Proxy) Data(ctx context.Context, path string) (code int, body string, err error) {
	return p.get(ctx, p.port, path)
}

func (p *Proxy) get(ctx context.Context, port int, path string) (int, string, error) {
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// Metric reads one sample, such as `tailnet_connected` or
// `tailnet_state{state="Running"}`; ok is false when there is none.
func (p *Proxy) Metric(ctx context.Context, sample string) (value float64, ok bool) {
	_, body, err := p.Admin(ctx, "/metrics")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(body) {
		if rest, found := strings.CutPrefix(line, sample+" "); found {
			value, err = strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return value, err == nil
		}
	}
	return 0, false
}

// AwaitReady returns when /readyz says yes.
func (p *Proxy) AwaitReady(ctx context.Context) error {
	for {
		code, _, err := p.Admin(ctx, "/readyz")
		if err == nil && code == http.StatusOK {
			return nil
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("the proxy ended with code %d:\n%s", p.ExitCode(), p.Logs())
		default:
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("await readiness: %w\n%s", err, p.Logs())
		}
	}
}

// AwaitHealth asks every few milliseconds until want holds, and returns when
// it first did.
func (p *Proxy) AwaitHealth(ctx context.Context, want func(Health) bool) (Health, time.Time, error) {
	var last Health
	for {
		h, err := p.Health(ctx)
		if err == nil {
			last = h
			if want(h) {
				return h, time.Now(), nil
			}
		}
		if err := pause(ctx, 3*time.Millisecond); err != nil {
			return last, time.Time{}, fmt.Errorf("await health: %w; it last said %+v", err, last)
		}
	}
}

func (p *Proxy) close() {
	if p.Process != nil {
		p.Kill()
	}
	p.client.CloseIdleConnections()
}
