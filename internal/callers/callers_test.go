package callers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"

	"anthropic-oauth-proxy/internal/edge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const addr = "127.0.0.1:40000"

func peer() string { return addr }

// fakeWho answers after a while and counts.
type fakeWho struct {
	takes   time.Duration
	err     error
	nobody  bool
	calls   atomic.Int32
	flying  atomic.Int32
	highest atomic.Int32
}

func (f *fakeWho) WhoIs(ctx context.Context, remote string) (*apitype.WhoIsResponse, error) {
	f.calls.Add(1)
	if n := f.flying.Add(1); n > f.highest.Load() {
		f.highest.Store(n)
	}
	defer f.flying.Add(-1)
	if remote != addr {
		return nil, errors.New("asked for " + remote)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(f.takes):
	}
	if f.err != nil || f.nobody {
		return nil, f.err
	}
	return &apitype.WhoIsResponse{Node: &tailcfg.Node{ComputedName: "laptop", Tags: []string{"tag:dev"}}}, nil
}

func TestLookup(t *testing.T) {
	for _, tc := range []struct {
		name string
		who  *fakeWho
		// phases on one connection: how long to pause before, what to expect
		phases []phase
	}{
		{"asked once, remembered", &fakeWho{takes: time.Millisecond}, []phase{
			{found: true, calls: 1, blocks: time.Millisecond}, {found: true, calls: 1}, {pause: time.Hour, found: true, calls: 1},
		}},
		{"a stranger is remembered too", &fakeWho{takes: 180 * time.Millisecond, nobody: true}, []phase{
			{calls: 1, blocks: 180 * time.Millisecond}, {pause: time.Hour, calls: 1},
		}},
		{"a hung daemon costs the budget, then nothing for a moment", &fakeWho{takes: time.Hour}, []phase{
			{calls: 1, blocks: Budget}, {calls: 1}, {pause: missPause, calls: 2, blocks: Budget},
		}},
		{"a dead daemon is asked again later", &fakeWho{err: errors.New("connection refused")}, []phase{
			{calls: 1}, {calls: 1}, {pause: missPause, calls: 2},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				id := New(tc.who)
				conn := edge.WithConn(t.Context(), new(edge.Conn))
				for i, p := range tc.phases {
					time.Sleep(p.pause)
					began := time.Now()
					caller, found := id.Lookup(conn, peer)
					if found != p.found || tc.who.calls.Load() != p.calls || time.Since(began) != p.blocks {
						t.Fatalf("phase %d: found %v after %v and %d calls, want %v after %v and %d",
							i, found, time.Since(began), tc.who.calls.Load(), p.found, p.blocks, p.calls)
					}
					if found && (caller.Node != "laptop" || len(caller.Tags) != 1 || caller.Tags[0] != "tag:dev") {
						t.Fatalf("phase %d: caller %+v", i, caller)
					}
				}
			})
		})
	}
}

type phase struct {
	pause  time.Duration
	found  bool
	calls  int32
	blocks time.Duration
}

func TestOneQuestionAtATimeAndNobodyQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := &fakeWho{takes: 100 * time.Millisecond}
		id := New(who)
		first := make(chan bool)
		go func() {
			_, found := id.Lookup(edge.WithConn(t.Context(), new(edge.Conn)), peer)
			first <- found
		}()
		synctest.Wait()
		began := time.Now()
		other := edge.WithConn(t.Context(), new(edge.Conn))
		for range 50 {
			if _, found := id.Lookup(other, peer); found {
				t.Fatal("found while a question was in flight")
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the others waited %v", waited)
		}
		if !<-first {
			t.Error("the first was not answered")
		}
		if _, found := id.Lookup(other, peer); !found {
			t.Error("a skipped connection was never asked about again")
		}
		if who.highest.Load() != 1 || who.calls.Load() != 2 {
			t.Errorf("%d at once, %d in all, want 1 and 2", who.highest.Load(), who.calls.Load())
		}
	})
}

func TestRequestsOfOneConnectionDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := New(&fakeWho{takes: 100 * time.Millisecond})
		conn := edge.WithConn(t.Context(), new(edge.Conn))
		done := make(chan struct{})
		go func() { defer close(done); id.Lookup(conn, peer) }()
		synctest.Wait()
		began := time.Now()
		id.Lookup(conn, peer)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the second request waited %v", waited)
		}
		<-done
	})
}

func TestOffAndUnwired(t *testing.T) {
	var off *Identifier
	if _, found := off.Lookup(edge.WithConn(t.Context(), new(edge.Conn)), peer); found {
		t.Error("switched off, yet found")
	}
	who := &fakeWho{}
	if _, found := New(who).Lookup(t.Context(), peer); found || who.calls.Load() != 0 {
		t.Error("asked for a connection that has no memory")
	}
}
