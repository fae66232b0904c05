package clients

import (
	"bufio"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anthropic-oauth-proxy/test/harness"
)

// attack is what a crowd of clients does to us, each on a connection of its own.
type attack struct {
	name  string // as specs/proxy.md has it
	count int
	begin func(c net.Conn) error
	// keep is what each goes on doing while it is looked at; nil for nothing.
	keep func(c net.Conn)
}

var attacks = []attack{
	{"connections that were never used", 10_000, func(net.Conn) error { return nil }, nil},
	{"connections that were used once", 10_000, func(c net.Conn) error { return ask(c, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n") }, nil},
	{"heads that do not end", 10_000, func(c net.Conn) error {
		return say(c, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Slow: "+strings.Repeat("s", 200))
	}, nil},
	{"uploads that stand still", 1_000, func(c net.Conn) error {
		return say(c, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"+strings.Repeat("u", 512<<10))
	}, nil},
	{"readers of 1 KiB a second", 5_000, func(c net.Conn) error { return say(c, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n") }, sip},
}

func say(c net.Conn, s string) error {
	_, err := io.WriteString(c, s)
	return err
}

// ask has a request answered.
func ask(c net.Conn, s string) error {
	if err := say(c, s); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 1<<10), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func sip(c net.Conn) {
	for buf := make([]byte, 1<<10); ; time.Sleep(time.Second) {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
	}
}

// What a crowd of hostile clients makes the process hold stays below what
// specs/proxy.md promises for each of them. The largest size is taken, from the
// first of them on.
func TestMemoryUnderAttack(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("a measurement: SOAK=1 runs it")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < 12_000 {
		t.Skipf("10,000 connections need as many descriptors: %+v, %v", limit, err)
	}
	bounds := promised(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			p := startProxy(t, endlessAPI(t, "max_connections = 10000"))
			for range 100 {
				c := dialRaw(t, p.proxy.Addr)
				if err := ask(c, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
			}
			before := memoryOf(t, p.proxy.Memory)
			a.run(t, p.proxy.Addr)
			each := func(now int64) float64 { return float64(now-before) / 1024 / float64(a.count) }
			peak, now := each(memoryOf(t, p.proxy.PeakMemory)), each(memoryOf(t, p.proxy.Memory))
			t.Logf("%d %s: %.1f KiB each at most, %.1f KiB in the end", a.count, a.name, peak, now)
			if bound, ok := bounds[a.name]; !ok || peak > bound {
				t.Errorf("%.1f KiB each, %.1f KiB are promised", peak, bound)
			}
		})
	}
}

func memoryOf(t *testing.T, of func() (int64, error)) int64 {
	t.Helper()
	n, err := of()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// attackTime is how long an attack is looked at once all take part: less than a
// head may take.
const attackTime = 5 * time.Second

// run begins the attack and returns while it goes on, to the end of the test.
func (a attack) run(t *testing.T, addr string) {
	// A segment as of a real path: loopback's own is so large that the kernel
	// would take megabytes for each connection.
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10)
		})
	}}
	var mu sync.Mutex
	var crowd []net.Conn
	t.Cleanup(func() {
		for _, c := range crowd {
			_ = c.Close()
		}
	})
	var opening sync.WaitGroup
	for range 50 {
		opening.Go(func() {
			for range a.count / 50 {
				c, err := dialer.Dial("tcp", addr)
				if err == nil {
					mu.Lock()
					crowd = append(crowd, c)
					mu.Unlock()
					err = a.begin(c)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if a.keep != nil {
					go a.keep(c)
				}
			}
		})
	}
	opening.Wait()
	time.Sleep(attackTime)
}

// endlessAPI is an API over HTTP/2 with an answer that has no end.
func endlessAPI(t *testing.T, settings string) harness.Options {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/endless" {
			_, _ = io.WriteString(w, "fine")
			return
		}
		for block := make([]byte, 16<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.Options{Upstream: s.URL, CAFile: file, Proxy: settings, LogLevel: "warn"}
}

var promiseLine = regexp.MustCompile(`(?m)^\| [0-9,]+ ([^|]+) \| ([0-9.]+) KiB \|$`)

// promised are the bounds of specs/proxy.md, in KiB each.
func promised(t *testing.T) map[string]float64 {
	page, err := os.ReadFile("../../specs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string]float64{}
	for _, m := range promiseLine.FindAllStringSubmatch(string(page), -1) {
		bounds[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	if len(bounds) != len(attacks) {
		t.Errorf("%d bounds are promised, there are %d attacks", len(bounds), len(attacks))
	}
	return bounds
}
