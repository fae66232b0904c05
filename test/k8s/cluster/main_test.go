//go:build cluster

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"anthropic-oauth-proxy/test/harness"
)

// repository is the root of the project, seen from this package.
const repository = "../../.."

// labNetwork is the network namespace that the lab's cluster lives in.
const labNetwork = "/run/netns/k8slab"

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
	lab := os.Getenv("K8S_LAB_DIR")
	if lab == "" {
		lab = repository + "/../shared/k8s-lab"
	}
	lab, err := filepath.Abs(lab)
	if err != nil {
		return 1, err
	}
	own := os.Getenv("KUBECONFIG") == ""
	if _, err := os.Stat(lab + "/up.sh"); own && err != nil {
		return 1, fmt.Errorf("KUBECONFIG is not set, and there is no lab to start: %w", err)
	}
	if !own && os.Getenv("LOAD_IMAGE") == "" {
		return 1, fmt.Errorf("KUBECONFIG is set but LOAD_IMAGE is not: name the command that loads an image archive into the nodes")
	}
	if own {
		if err := command(lab + "/build.sh"); err != nil {
			return 1, fmt.Errorf("build lab: %w", err)
		}
	}
	images, err := os.MkdirTemp("", "images-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(images)
	if err := command("./images", images); err != nil {
		return 1, fmt.Errorf("build images: %w", err)
	}
	if err := command("./images", filepath.Join(images, "again"), "proxy"); err != nil {
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
	return runInLab(lab)
}

// runInLab starts the lab, runs this very program again inside the lab's
// network, and stops the lab.
func runInLab(lab string) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("the lab %s needs root", lab)
	}
	if _, err := os.Stat(labNetwork); err == nil {
		return 1, fmt.Errorf("a lab is up already: end it with %s/down.sh", lab)
	}
	defer command(lab + "/down.sh")
	if err := command(lab + "/up.sh"); err != nil {
		return 1, fmt.Errorf("start lab: %w", err)
	}
	state := os.Getenv("K8S_LAB")
	if state == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return 1, err
		}
		state = filepath.Join(cache, "k8s-lab")
	}
	os.Setenv("KUBECONFIG", filepath.Join(state, "node/admin.conf"))
	os.Setenv("KUBECTL", filepath.Join(state, "bin/kubectl"))
	os.Setenv("LOAD_IMAGE", lab+"/load-image.sh")
	inner := exec.Command("nsenter", append([]string{"--net=" + labNetwork, os.Args[0]}, os.Args[1:]...)...)
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	if err := inner.Run(); err != nil {
		return 1, fmt.Errorf("tests inside the lab: %w", err)
	}
	return 0, nil
}

// command runs a program and shows what it says.
func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
