package k8s

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	psa "k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// A report collects violations, each a sentence that names its object.
type report struct{ violations []string }

func (r *report) add(format string, args ...any) {
	r.violations = append(r.violations, fmt.Sprintf(format, args...))
}

// Check returns every violation of the deployment's rules. tailscaleVersion is
// the version of tailscale.com that the proxy is built with, such as v1.102.5.
func (m *Manifests) Check(tailscaleVersion string) []string {
	r := &report{}
	if len(m.StatefulSets) != 1 {
		r.add("there are %d StatefulSets, want one", len(m.StatefulSets))
		return r.violations
	}
	m.checkObjects(r)
	m.checkSecurity(r)
	m.checkReferences(r)
	m.checkSidecar(r, tailscaleVersion)
	m.checkLifetimes(r)
	checkSpread(r, m.StatefulSets[0])
	m.checkRules(r)
	return r.violations
}

// checkObjects holds what every object must have, beginning with the namespace
// of the StatefulSet: an install lives in one.
func (m *Manifests) checkObjects(r *report) {
	namespace := m.StatefulSets[0].Namespace
	if namespace == "" {
		r.add("StatefulSet/%s names no namespace", m.StatefulSets[0].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(m.All)) {
		object := m.All[name]
		if !strings.HasPrefix(name, "Namespace/") && object.Namespace != namespace {
			r.add("%s is in namespace %q, want %q", name, object.Namespace, namespace)
		}
		for _, label := range []string{"app.kubernetes.io/part-of", "app.kubernetes.io/managed-by"} {
			if object.Labels[label] == "" {
				r.add("%s has no label %s", name, label)
			}
		}
	}
	for _, ns := range m.Namespaces {
		if ns.Name != namespace {
			r.add("Namespace/%s is not where the objects are, %q", ns.Name, namespace)
		}
		for _, mode := range []string{"enforce", "audit", "warn"} {
			if ns.Labels["pod-security.kubernetes.io/"+mode] != "restricted" {
				r.add("Namespace/%s does not %s Pod Security restricted", ns.Name, mode)
			}
		}
	}
	for _, account := range m.ServiceAccounts {
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
			r.add("ServiceAccount/%s mounts a token", account.Name)
		}
	}
	for _, config := range m.ConfigMaps {
		for key, text := range config.Data {
			if strings.Contains(text, "tskey-") || strings.Contains(text, "sk-ant-") {
				r.add("ConfigMap/%s: %s holds a secret", config.Name, key)
			}
		}
	}
}

// checkSecurity evaluates Pod Security with Kubernetes' own evaluator, and
// then what the standard leaves open.
func (m *Manifests) checkSecurity(r *report) {
	set := m.StatefulSets[0]
	pod := &set.Spec.Template.Spec
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		r.add("Pod Security evaluator: %v", err)
		return
	}
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(level, &set.Spec.Template.ObjectMeta, pod) {
		if !result.Allowed {
			r.add("Pod Security restricted: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		r.add("the pod mounts a service account token")
	}
	for _, c := range containers(pod) {
		checkContainer(r, c)
	}
}

func checkContainer(r *report, c core.Container) {
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		r.add("container %s has a writable root file system", c.Name)
	}
	if s == nil || s.RunAsUser == nil || *s.RunAsUser == 0 {
		r.add("container %s names no numeric user other than root", c.Name)
	}
	if _, tag, ok := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":"); !ok || tag == "latest" {
		r.add("container %s: image %s is not pinned to a version", c.Name, c.Image)
	}
	for _, resource := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
		if _, ok := c.Resources.Requests[resource]; !ok {
			r.add("container %s requests no %s", c.Name, resource)
		}
		if _, ok := c.Resources.Limits[resource]; !ok {
			r.add("container %s has no %s limit", c.Name, resource)
		}
	}
	checkMemoryLimit(r, c)
}

// checkReferences follows every name in the manifests to what it names.
func (m *Manifests) checkReferences(r *report) {
	set := m.StatefulSets[0]
	template := set.Spec.Template
	podLabels := labels.Set(template.Labels)
	if !selects(set.Spec.Selector.MatchLabels, podLabels) {
		r.add("StatefulSet/%s does not select its own pods", set.Name)
	}
	headless := false
	for _, service := range m.Services {
		if !selects(service.Spec.Selector, podLabels) {
			r.add("Service/%s selects no pod", service.Name)
		}
		headless = headless || service.Name == set.Spec.ServiceName && service.Spec.ClusterIP == core.ClusterIPNone
		for _, port := range service.Spec.Ports {
			if _, ok := portNumber(&template.Spec, port.TargetPort); !ok {
				r.add("Service/%s: no container has the port %s", service.Name, port.TargetPort.String())
			}
		}
	}
	if !headless {
		r.add("StatefulSet/%s: serviceName %q is no headless Service", set.Name, set.Spec.ServiceName)
	}
	if set.Spec.Template.Spec.ServiceAccountName == "" || m.All["ServiceAccount/"+template.Spec.ServiceAccountName].Name == "" {
		r.add("StatefulSet/%s: no ServiceAccount %q", set.Name, template.Spec.ServiceAccountName)
	}
	m.checkSelectors(r, podLabels)
	m.checkVolumes(r)
	for _, c := range containers(&template.Spec) {
		for _, env := range c.Env {
			checkSecretReference(r, c.Name, env)
		}
	}
}

// checkSelectors covers the objects that act on pods from outside.
func (m *Manifests) checkSelectors(r *report, podLabels labels.Set) {
	pod := &m.StatefulSets[0].Spec.Template.Spec
	for _, np := range m.NetworkPolicies {
		if !selects(np.Spec.PodSelector.MatchLabels, podLabels) {
			r.add("NetworkPolicy/%s selects no pod", np.Name)
		}
		checkMetadataServices(r, np)
		for _, ingress := range np.Spec.Ingress {
			for _, port := range ingress.Ports {
				if _, ok := portNumber(pod, *port.Port); !ok {
					r.add("NetworkPolicy/%s: no container has the port %s", np.Name, port.Port.String())
				}
			}
		}
	}
	for _, budget := range m.Budgets {
		if !selects(budget.Spec.Selector.MatchLabels, podLabels) {
			r.add("PodDisruptionBudget/%s selects no pod", budget.Name)
		}
	}
	for _, monitor := range m.PodMonitors {
		if !selects(monitor.Spec.Selector.MatchLabels, podLabels) {
			r.add("PodMonitor/%s selects no pod", monitor.Name)
		}
		for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
			if _, ok := portNumber(pod, intstr.FromString(*endpoint.Port)); !ok {
				r.add("PodMonitor/%s: no container has the port %s", monitor.Name, *endpoint.Port)
			}
		}
	}
}

// metadataServices are where clouds hand credentials to whoever asks from a
// node: AWS, Azure, GCP and others; Azure's wire server; Alibaba; Oracle; AWS
// and GCP over IPv6.
var metadataServices = []string{"169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"}

// checkMetadataServices wants no rule to let a pod reach one of them.
func checkMetadataServices(r *report, np *networking.NetworkPolicy) {
	for _, egress := range np.Spec.Egress {
		for _, to := range egress.To {
			if to.IPBlock == nil {
				continue
			}
			for _, address := range metadataServices {
				if within(to.IPBlock.CIDR, address) && !slices.ContainsFunc(to.IPBlock.Except, func(except string) bool { return within(except, address) }) {
					r.add("NetworkPolicy/%s lets the pod reach the metadata service %s", np.Name, address)
				}
			}
		}
	}
}

// within reports whether an address is in a prefix.
func within(cidr, address string) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && prefix.Contains(netip.MustParseAddr(address))
}

// checkSecretReference allows one Secret, to one container.
func checkSecretReference(r *report, container string, env core.EnvVar) {
	secret := env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil
	switch {
	case env.Name == "TS_AUTHKEY" && container != sidecarName:
		r.add("container %s is given the auth key, which is the sidecar's alone", container)
	case env.Name == "TS_AUTHKEY" && !secret:
		r.add("container %s: TS_AUTHKEY is not from a Secret", container)
	case secret && (env.ValueFrom.SecretKeyRef.Name != "tailscale-auth" || env.ValueFrom.SecretKeyRef.Key != "TS_AUTHKEY"):
		r.add("container %s: %s is from an undocumented Secret", container, env.Name)
	}
}

// selects reports whether a non-empty selector matches the labels.
func selects(selector map[string]string, target labels.Set) bool {
	return len(selector) > 0 && labels.SelectorFromSet(selector).Matches(target)
}

// containers lists every container of a pod, native sidecars included.
func containers(pod *core.PodSpec) []core.Container {
	return slices.Concat(pod.InitContainers, pod.Containers)
}

// portNumber resolves a port by name or number among the pod's containers.
func portNumber(pod *core.PodSpec, port intstr.IntOrString) (int32, bool) {
	for _, c := range containers(pod) {
		for _, p := range c.Ports {
			if p.Name == port.StrVal && port.Type == intstr.String || p.ContainerPort == port.IntVal && port.Type == intstr.Int {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}
