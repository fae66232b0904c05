package tailnet

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/health"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/types/key"

	"anthropic-oauth-proxy/messages"
)

// serveSocket puts h behind a Unix socket as tailscaled does.
func serveSocket(t *testing.T, h http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return path
}

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
	denied := serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "status access denied", http.StatusForbidden)
	}))
	cut := serveSocket(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
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

func TestWatchForwardsHealthByText(t *testing.T) {
	socket := serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		enc := json.NewEncoder(w)
		_ = enc.Encode(ipn.Notify{Version: "1"})
		_ = enc.Encode(ipn.Notify{Health: &health.State{Warnings: map[health.WarnableCode]health.UnhealthyState{
			"no-derp-home": {WarnableCode: "no-derp-home", Text: "No relay."},
		}}})
	}))
	var heard []Warnings
	err := source(t, socket).Watch(t.Context(), func(w Warnings) { heard = append(heard, w) })
	if err == nil || len(heard) != 2 || heard[0] != nil || heard[1]["No relay."].Code != "no-derp-home" {
		t.Errorf("heard %v, then %v", heard, err)
	}
}

func TestPingResolvesOnceAndFallsBackToTSMP(t *testing.T) {
	var statuses, discos, tsmps atomic.Int32
	var tsmpErr atomic.Value
	tsmpErr.Store("")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /localapi/v0/status", func(w http.ResponseWriter, _ *http.Request) {
		statuses.Add(1)
		_ = json.NewEncoder(w).Encode(ipnstate.Status{Peer: map[key.NodePublic]*ipnstate.PeerStatus{
			key.NewNode().Public(): {DNSName: "AI.tail-scale.ts.net.", TailscaleIPs: []netip.Addr{netip.MustParseAddr("100.64.0.9")}},
		}})
	})
	mux.HandleFunc("POST /localapi/v0/ping", func(w http.ResponseWriter, r *http.Request) {
		res := ipnstate.PingResult{IP: r.FormValue("ip")}
		switch {
		case r.FormValue("ip") != "100.64.0.9":
			res.Err = "no matching peer"
		case r.FormValue("type") == "disco":
			discos.Add(1)
			res.Err = "disco is blocked"
		default:
			tsmps.Add(1)
			res.Err = tsmpErr.Load().(string)
		}
		_ = json.NewEncoder(w).Encode(res)
	})
	src := source(t, serveSocket(t, mux))
	for _, phase := range []struct {
		name, peer, tsmpErr string
		wantErr             bool
		statuses            int32
	}{
		{"by short name", "ai", "", false, 1},
		{"again, from memory", "ai", "", false, 1},
		{"a miss forgets the address", "ai", "timeout", true, 1},
		{"so it is resolved again", "ai", "", false, 2},
		{"by FQDN", "ai.tail-scale.ts.net.", "", false, 3},
		{"by address, unresolved", "100.64.0.9", "", false, 3},
		{"nobody of that name", "nobody", "", true, 4},
	} {
		tsmpErr.Store(phase.tsmpErr)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := src.Ping(ctx, phase.peer)
		cancel()
		if (err != nil) != phase.wantErr || statuses.Load() != phase.statuses {
			t.Fatalf("%s: error %v, %d statuses, want %d", phase.name, err, statuses.Load(), phase.statuses)
		}
	}
	if discos.Load() == 0 || tsmps.Load() != discos.Load() {
		t.Errorf("%d disco and %d TSMP pings, want as many", discos.Load(), tsmps.Load())
	}
}
