package k8s

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/mod/modfile"

	"anthropic-oauth-proxy/internal/config"
)

// Config follows the proxy's CONFIG_PATH through the mount to the ConfigMap
// and loads what is there with the proxy's own package.
func (m *Manifests) Config() (config.Config, error) {
	text, err := m.configText()
	if err != nil {
		return config.Config{}, err
	}
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		return config.Config{}, fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return config.Config{}, fmt.Errorf("write configuration: %w", err)
	}
	return config.Load(config.Sources{Path: file, Getenv: func(string) string { return "" }})
}

func (m *Manifests) configText() (string, error) {
	pod := &m.StatefulSets[0].Spec.Template.Spec
	proxy := find(pod.Containers, proxyName)
	if proxy == nil {
		return "", errors.New("the pod has no proxy")
	}
	file := environment(*proxy)["CONFIG_PATH"]
	volume := volumeAt(proxy, path.Dir(file))
	for _, v := range pod.Volumes {
		if v.Name != volume || v.ConfigMap == nil {
			continue
		}
		for _, c := range m.ConfigMaps {
			if text, ok := c.Data[path.Base(file)]; ok && c.Name == v.ConfigMap.Name {
				return text, nil
			}
		}
	}
	return "", fmt.Errorf("CONFIG_PATH %q leads to no key of a mounted ConfigMap", file)
}

// ModuleVersion returns the version at which a go.mod file requires a module.
func ModuleVersion(goMod, module string) (string, error) {
	data, err := os.ReadFile(goMod)
	if err != nil {
		return "", fmt.Errorf("read go.mod: %w", err)
	}
	parsed, err := modfile.Parse(goMod, data, nil)
	if err != nil {
		return "", fmt.Errorf("parse go.mod: %w", err)
	}
	for _, require := range parsed.Require {
		if require.Mod.Path == module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", goMod, module)
}
