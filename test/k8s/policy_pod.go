package k8s

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"anthropic-oauth-proxy/internal/config"
)

const (
	sidecarName = "tailscale"
	proxyName   = "proxy"
	// containerbootExitSeconds is the most that containerboot takes after
	// SIGTERM: 20 s when it withdraws a Tailscale Service, bounded by 25 s.
	containerbootExitSeconds = 25
	// containerbootBootSeconds is containerboot's own limit for a login.
	containerbootBootSeconds = 60
	// successorSeconds is the most that the cluster test has measured from the
	// proxy's exit until its successor is reached by name, with some room.
	successorSeconds = 25
	// patienceSeconds is how long a single name may answer nobody: the real
	// claude knocks for 177 s, with a gap of 39 s before its last two.
	patienceSeconds = 130
)

// checkMemoryLimit wants the Go runtime to know the limit, with room for what
// the runtime does not count.
func checkMemoryLimit(r *report, c core.Container) {
	limit := c.Resources.Limits.Memory().Value()
	goLimit, err := resource.ParseQuantity(strings.TrimSuffix(environment(c)["GOMEMLIMIT"], "B"))
	if err != nil {
		r.add("container %s: GOMEMLIMIT: %v", c.Name, err)
		return
	}
	if share := float64(goLimit.Value()) / float64(limit); share < 0.8 || share > 0.95 {
		r.add("container %s: GOMEMLIMIT is %.0f %% of the memory limit, want 80 to 95", c.Name, share*100)
	}
}

// checkVolumes wants every mount to have a volume and every volume a source
// that the manifests bring along.
func (m *Manifests) checkVolumes(r *report) {
	set := m.StatefulSets[0]
	pod := &set.Spec.Template.Spec
	volumes := map[string]bool{}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		volumes[claim.Name] = true
	}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		switch {
		case v.ConfigMap != nil:
			if m.All["ConfigMap/"+v.ConfigMap.Name].Name == "" {
				r.add("volume %s: no ConfigMap %q", v.Name, v.ConfigMap.Name)
			}
		case v.EmptyDir == nil:
			r.add("volume %s is neither a ConfigMap nor an emptyDir", v.Name)
		}
	}
	for _, c := range containers(pod) {
		for _, mount := range c.VolumeMounts {
			if !volumes[mount.Name] {
				r.add("container %s mounts the volume %q, which does not exist", c.Name, mount.Name)
			}
		}
	}
}

// checkSidecar holds what was learnt about containerboot in a pod, and that
// the two containers and the configuration agree.
func (m *Manifests) checkSidecar(r *report, tailscaleVersion string) {
	pod := &m.StatefulSets[0].Spec.Template.Spec
	sidecar, proxy := find(pod.InitContainers, sidecarName), find(pod.Containers, proxyName)
	if sidecar == nil || proxy == nil {
		r.add("the pod lacks the init container %q or the container %q", sidecarName, proxyName)
		return
	}
	if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != core.ContainerRestartPolicyAlways {
		r.add("the sidecar is an ordinary init container: restartPolicy is not Always")
	}
	if sidecar.StartupProbe == nil || startupSeconds(sidecar) <= containerbootBootSeconds {
		r.add("the sidecar's startup probe gives up before containerboot does")
	}
	if _, tag, _ := strings.Cut(sidecar.Image, ":"); tag != tailscaleVersion && !strings.HasPrefix(sidecar.Image, "localhost/") {
		r.add("the sidecar's image is %s, but the proxy is built with tailscale.com %s", sidecar.Image, tailscaleVersion)
	}
	env := environment(*sidecar)
	for name, want := range map[string]string{"TS_KUBE_SECRET": "", "TS_USERSPACE": "true", "TS_AUTH_ONCE": "false", "TS_ENABLE_HEALTH_CHECK": "true"} {
		if got, ok := env[name]; !ok || got != want {
			r.add("the sidecar's %s is %q (set: %t), want %q", name, got, ok, want)
		}
	}
	if dir := env["TS_STATE_DIR"]; path.Base(dir) == "tailscale" || volumeAt(sidecar, dir) == "" {
		r.add("the sidecar's state directory %q is named tailscale or is no volume", dir)
	}
	if !sameSource(sidecar, "TS_HOSTNAME", proxy, "TAILSCALE_HOSTNAME") {
		r.add("the sidecar asks for one name and the proxy expects another: TS_HOSTNAME and TAILSCALE_HOSTNAME differ")
	}
	m.checkConfig(r, proxy, env["TS_SOCKET"])
	checkSocketVolume(r, pod, sidecar, proxy, env["TS_SOCKET"])
}

// sameSource reports whether two variables are taken from the same field.
func sameSource(a *core.Container, nameA string, b *core.Container, nameB string) bool {
	field := func(c *core.Container, name string) string {
		for _, e := range c.Env {
			if e.Name == name && e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
				return e.ValueFrom.FieldRef.FieldPath
			}
		}
		return ""
	}
	return field(a, nameA) != "" && field(a, nameA) == field(b, nameB)
}

// checkSocketVolume wants the socket's directory to be one emptyDir that both
// sides mount at one path and that holds nothing else.
func checkSocketVolume(r *report, pod *core.PodSpec, sidecar, proxy *core.Container, socket string) {
	volume := volumeAt(sidecar, path.Dir(socket))
	if volume == "" || volume != volumeAt(proxy, path.Dir(socket)) {
		r.add("the socket's directory %s is not one volume in both containers", path.Dir(socket))
	}
	if volume == volumeAt(sidecar, environment(*sidecar)["TS_STATE_DIR"]) {
		r.add("the socket shares the volume of the state")
	}
	i := slices.IndexFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == volume })
	if i < 0 || pod.Volumes[i].EmptyDir == nil {
		r.add("the socket's volume %q is no emptyDir", volume)
	}
}

// checkConfig loads the configuration as the proxy would and compares it with
// the ports and the socket around it.
func (m *Manifests) checkConfig(r *report, proxy *core.Container, socket string) {
	cfg, err := m.Config()
	if err != nil {
		r.add("the configuration is refused: %v", err)
		return
	}
	if cfg.Tailscale.Mode != config.ModeSidecar {
		r.add("the configuration does not watch the sidecar: mode is %q", cfg.Tailscale.Mode)
	}
	if cfg.Tailscale.Socket != socket {
		r.add("the configuration's socket is %q, the sidecar's is %q", cfg.Tailscale.Socket, socket)
	}
	for name, address := range map[string]string{"proxy": cfg.Proxy.ListenAddr, "admin": cfg.Proxy.AdminAddr} {
		_, port, _ := net.SplitHostPort(address)
		i := slices.IndexFunc(proxy.Ports, func(p core.ContainerPort) bool { return p.Name == name })
		if i < 0 || strconv.Itoa(int(proxy.Ports[i].ContainerPort)) != port {
			r.add("the configuration's %s address %s does not match the container port of that name", name, address)
		}
	}
	if host, _, _ := net.SplitHostPort(cfg.Proxy.AdminAddr); net.ParseIP(host).IsLoopback() {
		r.add("the admin address %s is loopback: no probe reaches it", cfg.Proxy.AdminAddr)
	}
}

// checkLifetimes compares the times that must stand in a row.
func (m *Manifests) checkLifetimes(r *report) {
	pod := &m.StatefulSets[0].Spec.Template.Spec
	proxy := find(pod.Containers, proxyName)
	cfg, err := m.Config()
	if proxy == nil || err != nil {
		return // reported by checkSidecar and checkConfig
	}
	if startupSeconds(proxy) <= int(cfg.Tailscale.ConnectTimeout.Seconds()) {
		r.add("the proxy's startup probe gives up before connect_timeout_secs: the log would not say why")
	}
	for _, probe := range []struct {
		name, path string
		probe      *core.Probe
	}{
		{"startup", "/readyz", proxy.StartupProbe}, {"readiness", "/readyz", proxy.ReadinessProbe}, {"liveness", "/livez", proxy.LivenessProbe},
	} {
		if probe.probe == nil || probe.probe.HTTPGet == nil || probe.probe.HTTPGet.Path != probe.path || probe.probe.HTTPGet.Port.String() != "admin" {
			r.add("the proxy's %s probe does not ask for %s on the admin port", probe.name, probe.path)
		}
	}
	checkLiveness(r, "proxy", proxy)
	checkLiveness(r, "sidecar", find(pod.InitContainers, sidecarName))
	drain := int64(cfg.Proxy.DrainTimeout.Seconds())
	if drain+successorSeconds > patienceSeconds && *m.StatefulSets[0].Spec.Replicas == 1 {
		r.add("drain_timeout_secs is %d: with the successor's start the name answers nobody for more than %d s, and turns are lost", drain, patienceSeconds)
	}
	need := int64(cfg.Proxy.DrainTimeout.Seconds()) + containerbootExitSeconds
	if l := proxy.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		need += l.PreStop.Sleep.Seconds
	}
	if grace := pod.TerminationGracePeriodSeconds; grace == nil || *grace <= need {
		r.add("terminationGracePeriodSeconds does not exceed the drain and the sidecar's exit: %d s", need)
	}
}

// checkLiveness wants a container that hangs to be noticed, and then not to get
// the pod's whole grace: it drains nothing.
func checkLiveness(r *report, name string, c *core.Container) {
	if c == nil || c.LivenessProbe == nil {
		r.add("the %s has no liveness probe: nothing ends it when it hangs", name)
		return
	}
	probe := c.LivenessProbe
	if grace := probe.TerminationGracePeriodSeconds; grace == nil || *grace > 10 {
		r.add("the %s's liveness has no short terminationGracePeriodSeconds of its own", name)
	}
	if patience := probe.PeriodSeconds * probe.FailureThreshold; patience < 30 || patience > 60 {
		r.add("the %s's liveness waits %d s, want 30 to 60: long enough for a busy node, short enough for a client", name, patience)
	}
}

// checkSpread wants pods that stand in for one another on different nodes.
func checkSpread(r *report, set *apps.StatefulSet) {
	if set.Spec.Replicas == nil || *set.Spec.Replicas < 2 {
		return
	}
	pod := &set.Spec.Template.Spec
	if pod.Affinity != nil && pod.Affinity.PodAntiAffinity != nil {
		for _, term := range pod.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey == core.LabelHostname && selects(term.LabelSelector.MatchLabels, set.Spec.Template.Labels) {
				return
			}
		}
	}
	r.add("two pods may be on one node, and die with it together")
}

// startupSeconds is how long the startup probe lets a container fail.
func startupSeconds(c *core.Container) int {
	if c.StartupProbe == nil {
		return 0
	}
	return int(c.StartupProbe.PeriodSeconds * c.StartupProbe.FailureThreshold)
}

// find returns the container of that name, or nil.
func find(list []core.Container, name string) *core.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// volumeAt names the volume that a container mounts at a directory.
func volumeAt(c *core.Container, dir string) string {
	for _, mount := range c.VolumeMounts {
		if mount.MountPath == dir {
			return mount.Name
		}
	}
	return ""
}

// environment holds a container's literal variables.
func environment(c core.Container) map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = e.Value
		}
	}
	return env
}
