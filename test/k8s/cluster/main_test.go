//go:build cluster

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/k8s/lab"
)

// repository is the root of the project, seen from this package.
const repository = "../../.."

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster test cannot run:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run builds the images, finds or starts the cluster and runs the tests in a
// network from which it is reached.
func run(m *testing.M) (int, error) {
	if os.Getenv("CLUSTER_IMAGES") != "" { // the inner process, or images made by hand
		return m.Run(), nil
	}
	l, err := lab.At(cmp.Or(os.Getenv("K8S_LAB_DIR"), repository+"/../shared/k8s-lab"))
	if err != nil {
		return 1, err
	}
	own := os.Getenv("KUBECONFIG") == ""
	if _, err := os.Stat(l.Scripts + "/up.sh"); own && err != nil {
		return 1, fmt.Errorf("KUBECONFIG is not set, and there is no lab to start: %w", err)
	}
	if !own && os.Getenv("LOAD_IMAGE") == "" {
		return 1, fmt.Errorf("KUBECONFIG is set but LOAD_IMAGE is not: name the command that loads an image archive into the nodes")
	}
	if own {
		if err := lab.Run(l.Scripts + "/build.sh"); err != nil {
			return 1, fmt.Errorf("build lab: %w", err)
		}
	}
	images, err := os.MkdirTemp("", "images-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(images)
	if err := lab.Run("./images", images); err != nil {
		return 1, fmt.Errorf("build images: %w", err)
	}
	if err := lab.Run("./images", filepath.Join(images, "again"), "proxy"); err != nil {
		return 1, fmt.Errorf("build image again: %w", err)
	}
	os.Setenv("CLUSTER_IMAGES", images)
	if _, err := exec.LookPath("npm"); err == nil { // from here, for the lab has no way out
		packages, err := harness.NodePackages(repository + "/test/clients/testdata/npm")
		if err != nil {
			return 1, fmt.Errorf("install the claude command: %w", err)
		}
		os.Setenv("CLUSTER_CLAUDE", filepath.Join(packages, harness.Claude))
	}
	if !own {
		return m.Run(), nil
	}
	return runInLab(l)
}

// runInLab starts the lab, runs this very program again inside the lab's
// network, and ends the lab, also when it is told to stop.
func runInLab(l lab.Lab) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("the lab %s needs root", l.Scripts)
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	end, err := l.Start()
	if err != nil {
		return 1, fmt.Errorf("start lab: %w", err)
	}
	os.Setenv("KUBECONFIG", filepath.Join(l.State, "node/admin.conf"))
	os.Setenv("KUBECTL", filepath.Join(l.State, "bin/kubectl"))
	os.Setenv("LOAD_IMAGE", l.Scripts+"/load-image.sh")
	inner := exec.CommandContext(told, "nsenter", append([]string{"--net=" + l.Network, os.Args[0]}, os.Args[1:]...)...)
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	if err := errors.Join(inner.Run(), end()); err != nil {
		return 1, fmt.Errorf("tests inside the lab: %w", err)
	}
	return 0, nil
}
