package k8s

import (
	"fmt"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Manifests is one rendered set of objects, each as its Kubernetes type.
type Manifests struct {
	Namespaces      []*core.Namespace
	ServiceAccounts []*core.ServiceAccount
	ConfigMaps      []*core.ConfigMap
	Services        []*core.Service
	StatefulSets    []*apps.StatefulSet
	NetworkPolicies []*networking.NetworkPolicy
	Budgets         []*policy.PodDisruptionBudget
	PodMonitors     []*monitoring.PodMonitor
	Rules           []*monitoring.PrometheusRule

	// All holds the metadata of every object, by "Kind/name".
	All map[string]meta.ObjectMeta
}

// add decodes one document strictly: an unknown kind or field is an error.
func (m *Manifests) add(document []byte) error {
	var head meta.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &head); err != nil {
		return fmt.Errorf("read kind: %w", err)
	}
	name := head.Kind + "/" + head.Name
	var err error
	switch head.APIVersion + " " + head.Kind {
	case "v1 Namespace":
		m.Namespaces, err = decode(m.Namespaces, document)
	case "v1 ServiceAccount":
		m.ServiceAccounts, err = decode(m.ServiceAccounts, document)
	case "v1 ConfigMap":
		m.ConfigMaps, err = decode(m.ConfigMaps, document)
	case "v1 Service":
		m.Services, err = decode(m.Services, document)
	case "apps/v1 StatefulSet":
		m.StatefulSets, err = decode(m.StatefulSets, document)
	case "networking.k8s.io/v1 NetworkPolicy":
		m.NetworkPolicies, err = decode(m.NetworkPolicies, document)
	case "policy/v1 PodDisruptionBudget":
		m.Budgets, err = decode(m.Budgets, document)
	case "monitoring.coreos.com/v1 PodMonitor":
		m.PodMonitors, err = decode(m.PodMonitors, document)
	case "monitoring.coreos.com/v1 PrometheusRule":
		m.Rules, err = decode(m.Rules, document)
	default:
		return fmt.Errorf("%s: no manifest may be of kind %s %s", name, head.APIVersion, head.Kind)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if m.All == nil {
		m.All = map[string]meta.ObjectMeta{}
	}
	m.All[name] = head.ObjectMeta
	return nil
}

func decode[T any](objects []*T, document []byte) ([]*T, error) {
	object := new(T)
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return nil, err
	}
	return append(objects, object), nil
}
