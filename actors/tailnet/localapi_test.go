package tailnet

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/health"
	"tailscale.com/ipn"

	"anthropic-oauth-proxy/internal/testkit"
	"anthropic-oauth-proxy/messages"
)

func source(t *testing.T, socket string) *LocalAPI {
	l := NewLocalAPI(socket)
	t.Cleanup(l.Close)
	return l
}

func TestFailuresOfTheSocket(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.sock")
	dead := filepath.Join(t.TempDir(), "dead.sock")
	ln, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	hung := filepath.Join(t.TempDir(), "hung.sock")
	held, err := net.Listen("unix", hung) // accepted by the kernel, by nobody else
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	denied := testkit.ServeUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "status access denied", http.StatusForbidden)
	}))
	cut := testkit.ServeUnix(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	for _, tc := range []struct {
		name, socket string
		want         messages.Reason
	}{
		{"absent", absent, messages.ReasonSocketAbsent},
		{"left behind", dead, messages.ReasonRefused},
		{"hung", hung, messages.ReasonTimeout},
		{"denied", denied, messages.ReasonPermissionDenied},
		{"cut", cut, messages.ReasonPollFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			st, err := source(t, tc.socket).Status(ctx)
			if got := Classify(st, err, nil, time.Now()); got.Reason != tc.want {
				t.Errorf("got %q (%v), want %q", got.Reason, err, tc.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// What lies at the path need not be a socket, and the system says the same of
// it as of a daemon that died.
func TestWhatIsNoSocket(t *testing.T) {
	dir := t.TempDir()
	file, within := filepath.Join(dir, "file"), filepath.Join(dir, "file", "tailscaled.sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "datagrams"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for path, detail := range map[string]string{
		dir: "is a directory, not a socket", file: "is a regular file, not a socket", within: "not a directory",
		loop: "", "/dev/null": "is a special file, not a socket", datagrams.LocalAddr().String(): "",
		filepath.Join(dir, strings.Repeat("long", 40)): "invalid argument",
	} {
		st, err := source(t, path).Status(t.Context())
		got := Classify(st, err, nil, time.Now())
		if got.Reason != messages.ReasonNotASocket || !strings.Contains(got.Detail, detail) {
			t.Errorf("%s: %q, %q, want %q in it", path, got.Reason, got.Detail, detail)
		}
	}
}

// Whoever may not write to a directory is refused before the system sees that it
// is no socket.
func TestADirectoryOfSomebodyElse(t *testing.T) {
	denied := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	if got := failureReason(dialCause(t.TempDir(), denied)); got != messages.ReasonNotASocket {
		t.Errorf("a directory is %q", got)
	}
	socket := testkit.ServeUnix(t, http.NotFoundHandler())
	if got := failureReason(dialCause(socket, denied)); got != messages.ReasonPermissionDenied {
		t.Errorf("a socket of somebody else is %q", got)
	}
}

func TestWatchForwardsHealthByText(t *testing.T) {
	socket := testkit.ServeUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		enc := json.NewEncoder(w)
		_ = enc.Encode(ipn.Notify{Version: "1"})
		_ = enc.Encode(ipn.Notify{Health: &health.State{Warnings: map[health.WarnableCode]health.UnhealthyState{
			"no-derp-home": {WarnableCode: "no-derp-home", Text: "No relay."},
		}}})
	}))
	var heard []Warnings
	err := source(t, socket).Watch(t.Context(), func(w Warnings) { heard = append(heard, w) })
	if err == nil || len(heard) != 3 || heard[0] != nil || heard[1] != nil || heard[2]["No relay."].Code != "no-derp-home" {
		t.Errorf("heard %v, then %v", heard, err)
	}
}
