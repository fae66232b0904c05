// Package cluster deploys the project to a real Kubernetes and watches what
// happens. Its tests are behind the build tag "cluster":
//
//	go test -tags cluster -count=1 -timeout 40m -v ./cluster
//
// With KUBECONFIG set they use that cluster; LOAD_IMAGE is then the command
// that loads an image archive into its nodes, such as "kind load image-archive".
// Without KUBECONFIG they start the one-node Kubernetes of the directory
// K8S_LAB_DIR (by default ../shared/k8s-lab beside the project), which needs
// root, and stop it afterwards; one that a killed run left is ended first, one
// that somebody else uses is left alone. Where neither is to be had the tests fail and
// say so.
//
// Beside the cluster the test process runs a coordination server, a relay, a
// caller node and a simulated Claude API, on the address of this machine from
// which the nodes are reached.
package cluster
