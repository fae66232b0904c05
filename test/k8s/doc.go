// Package k8s renders the manifests under k8s/ and says what is wrong with them.
//
// It reads files and starts nothing. The tests beside it render every overlay
// and every combination of components, and break the tree on purpose to see
// that each breakage is noticed. What needs a cluster is in the package
// cluster below this one.
package k8s
