//go:build cluster

package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

const (
	namespace = "anthropic-oauth-proxy"
	podName   = "anthropic-oauth-proxy-0"
)

// A kube talks to the cluster: by kubectl as an operator does, and through one
// `kubectl proxy` for what is asked often.
type kube struct {
	t       *testing.T
	kubectl string
	api     string // base URL of the API, without credentials
}

func newKube(t *testing.T) *kube {
	k := &kube{t: t, kubectl: os.Getenv("KUBECTL")}
	if k.kubectl == "" {
		k.kubectl = "kubectl"
	}
	ctx, cancel := context.WithCancel(context.Background())
	proxy := exec.CommandContext(ctx, k.kubectl, "proxy", "--port=0")
	out, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = proxy.Wait() // ended by us
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("kubectl proxy: %v", err)
	}
	k.api = "http://" + strings.TrimSpace(strings.TrimPrefix(line, "Starting to serve on "))
	return k
}

// try runs kubectl in our namespace and returns everything it says.
func (k *kube) try(stdin string, args ...string) (string, error) {
	cmd := exec.Command(k.kubectl, append([]string{"-n", namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must work.
func (k *kube) run(args ...string) string {
	k.t.Helper()
	return k.apply("", args...)
}

// apply is run with a standard input.
func (k *kube) apply(stdin string, args ...string) string {
	k.t.Helper()
	out, err := k.try(stdin, args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// pod reads the pod; nil when there is none.
func (k *kube) pod() *core.Pod {
	k.t.Helper()
	res, err := http.Get(k.api + "/api/v1/namespaces/" + namespace + "/pods/" + podName)
	if err != nil {
		k.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil
	}
	pod := &core.Pod{}
	if err := json.NewDecoder(res.Body).Decode(pod); err != nil {
		k.t.Fatalf("read pod: %v", err)
	}
	return pod
}

// admin asks the pod's admin port through the API server.
func (k *kube) admin(path string) (int, string) {
	res, err := http.Get(fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:9090/proxy%s", k.api, namespace, podName, path))
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body) // a broken answer is a wrong answer
	return res.StatusCode, string(body)
}

// await polls until the condition holds. On failure it shows the pod.
func (k *kube) await(within time.Duration, what string, condition func() bool) time.Duration {
	k.t.Helper()
	start := time.Now()
	for !condition() {
		if time.Since(start) > within {
			k.t.Fatalf("not within %v: %s\n%s", within, what, k.diagnosis())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

func (k *kube) diagnosis() string {
	var b strings.Builder
	for _, args := range [][]string{
		{"describe", "pod", podName}, {"logs", podName, "-c", "tailscale", "--tail=15"}, {"logs", podName, "-c", "proxy", "--tail=15"},
	} {
		out, _ := k.try("", args...) // whatever it says helps
		fmt.Fprintf(&b, "$ kubectl %s\n%s\n", strings.Join(args, " "), out)
	}
	return b.String()
}

// awaitReady waits for a Ready pod other than the one with that UID.
func (k *kube) awaitReady(within time.Duration, not string) *core.Pod {
	k.t.Helper()
	var pod *core.Pod
	k.await(within, "a new pod is Ready", func() bool {
		pod = k.pod()
		return pod != nil && string(pod.UID) != not && pod.DeletionTimestamp == nil && isReady(pod)
	})
	return pod
}

func isReady(pod *core.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == core.PodReady {
			return c.Status == core.ConditionTrue
		}
	}
	return false
}

// status is that of one of the pod's two containers.
func status(pod *core.Pod, container string) core.ContainerStatus {
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if s.Name == container {
			return s
		}
	}
	return core.ContainerStatus{}
}

// A logLine is what a container said, and when.
type logLine struct {
	at   time.Time
	text string
}

// follow collects a container's log until the container ends.
func (k *kube) follow(container string) <-chan []logLine {
	k.t.Helper()
	cmd := exec.Command(k.kubectl, "-n", namespace, "logs", podName, "-c", container, "-f", "--timestamps")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	lines := make(chan []logLine, 1)
	go func() {
		_ = cmd.Wait() // the end of the container is the end of the log
		var all []logLine
		for line := range strings.Lines(out.String()) {
			stamp, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				all = append(all, logLine{at, text})
			}
		}
		lines <- all
	}()
	return lines
}
