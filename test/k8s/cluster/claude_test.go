//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"anthropic-oauth-proxy/test/sim"
)

// claudePatience is how long a name may answer nobody: the real claude (2.1.330)
// gives a turn up after 177 s of knocking, the last two knocks 34 s apart.
const claudePatience = 130 * time.Second

// claudeThrough replaces the only pod three times, with the drain of the base
// and a stream in flight that never ends, while the real claude is started
// every five seconds. Every turn must end right.
func (d *deployment) claudeThrough(t *testing.T) {
	launcher := os.Getenv("CLUSTER_CLAUDE")
	if launcher == "" {
		t.Skip("npm is not installed: the claude command is not tested")
	}
	d.tailnet.api.SetPlan(func(r *http.Request) sim.Plan {
		if plan := unauthorized(r); plan.Status != 0 {
			return plan
		}
		return sim.Plan{Deltas: claudeDeltas, Delay: 100 * time.Millisecond}
	})
	defer d.tailnet.api.SetPlan(unauthorized)
	door := d.tailnet.forward(t)
	for _, end := range []struct {
		name string
		run  func()
	}{
		{"rollout restart", func() { d.run("rollout", "restart", set) }},
		{"pod delete", func() { d.run("delete", "pod", podName, "--wait=false") }},
		{"node drain", d.drainNode},
	} {
		old := d.pod()
		ctx, cancel := context.WithCancel(t.Context())
		endless := make(chan error, 1)
		go func() {
			_, err := d.tailnet.call(ctx, sim.Plan{Deltas: 1 << 20, Delay: time.Second, Stream: true})
			endless <- err
		}()
		var turns claudes
		turns.start(ctx, t, launcher, door) // one that is under way when the end comes
		shut := make(chan time.Duration, 1)
		end.run()
		go func() { shut <- d.shutFor(ctx) }()
		began := time.Now()
		for pod := d.pod(); pod == nil || pod.UID == old.UID || !isReady(pod); pod = d.pod() {
			if time.Since(began) > 3*time.Minute {
				t.Fatalf("%s: no successor\n%s", end.name, d.diagnosis())
			}
			turns.start(ctx, t, launcher, door)
			time.Sleep(5 * time.Second)
		}
		turns.start(ctx, t, launcher, door)
		turns.wait()
		closed := <-shut
		t.Logf("%s: the name answered nobody for %v; %d turns of claude, %d ended right", end.name, closed.Round(time.Millisecond), turns.all, turns.right)
		if turns.right != turns.all {
			t.Errorf("%s: %d of %d turns of claude were lost", end.name, turns.all-turns.right, turns.all)
		}
		if closed > claudePatience {
			t.Errorf("%s: the name answered nobody for %v, want less than %v", end.name, closed, claudePatience)
		}
		if err := <-endless; err == nil {
			t.Errorf("%s: a stream that never ends has ended whole", end.name)
		}
		cancel()
	}
}

// drainNode evicts the pod as a node's drain does, and gives the node back as
// soon as the pod is on its way out: the successor starts where it can.
func (d *deployment) drainNode() {
	node, uid := d.pod().Spec.NodeName, d.pod().UID
	drained := make(chan string, 1)
	go func() {
		out, err := d.try("", "drain", node, "--pod-selector=app.kubernetes.io/name=anthropic-oauth-proxy", "--delete-emptydir-data", "--timeout=170s")
		drained <- fmt.Sprintf("%v\n%s", err, out)
	}()
	d.await(time.Minute, "the pod is evicted", func() bool {
		pod := d.pod()
		return pod == nil || pod.UID != uid || pod.DeletionTimestamp != nil
	})
	d.run("uncordon", node)
	d.t.Cleanup(func() { d.t.Logf("kubectl drain: %s", <-drained) })
}

// shutFor returns how long the name answered nobody: from the first request
// that failed to the first that succeeded after it.
func (d *deployment) shutFor(ctx context.Context) time.Duration {
	var began time.Time
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		body, err := d.tailnet.call(attempt, sim.Plan{Deltas: deltas, Stream: true})
		cancel()
		switch served := err == nil && body == complete; {
		case !served && began.IsZero():
			began = time.Now()
		case served && !began.IsZero():
			return time.Since(began)
		}
		time.Sleep(250 * time.Millisecond)
	}
	return 0
}

// forward opens a port of this machine that leads to the proxy's name on the
// tailnet, byte for byte, and returns its base URL. A name that does not answer
// is a connection that closes.
func (n *tailnet) forward(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				out, err := n.dial(ctx, "tcp", "anthropic-oauth-proxy:8080")
				if err != nil {
					return
				}
				defer out.Close()
				go func() { defer out.Close(); io.Copy(out, in) }()
				io.Copy(in, out)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// claudeDeltas is how many pieces of text claude is answered with.
const claudeDeltas = 20

// claudes are turns of the claude command, each a process of its own.
type claudes struct {
	wg         sync.WaitGroup
	mu         sync.Mutex
	all, right int
}

// start runs one turn in the background. Nothing of the caller's credentials or
// settings reaches it.
func (c *claudes) start(ctx context.Context, t *testing.T, launcher, door string) {
	c.all++
	home := t.TempDir()
	c.wg.Go(func() {
		cmd := exec.CommandContext(ctx, "node", launcher, "-p", "hello")
		cmd.Dir = home
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CLAUDE_CONFIG_DIR=" + home, "NO_PROXY=127.0.0.1",
			"ANTHROPIC_AUTH_TOKEN=sk-ant-oat01-test", "ANTHROPIC_BASE_URL=" + door,
			"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_TELEMETRY=1", "DISABLE_AUTOUPDATER=1", "DISABLE_ERROR_REPORTING=1",
		}
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(sim.Text(claudeDeltas)) {
			t.Logf("a turn of claude, %v: %v\n%s", time.Since(began).Round(time.Second), err, out)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.right++
	})
}

// wait returns when every turn has ended.
func (c *claudes) wait() { c.wg.Wait() }
