package k8s

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A Tree is a copy of the manifests in memory. A test may change it; the
// files on disk stay as they are.
type Tree struct {
	files filesys.FileSystem
}

// LoadTree reads the directories k8s and examples of the repository at root.
func LoadTree(root string) (*Tree, error) {
	t := &Tree{files: filesys.MakeFsInMemory()}
	for _, dir := range []string{"k8s", "examples"} {
		if err := t.load(root, dir); err != nil {
			return nil, fmt.Errorf("load manifests: %w", err)
		}
	}
	return t, nil
}

func (t *Tree) load(root, dir string) error {
	return filepath.WalkDir(filepath.Join(root, dir), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return t.files.WriteFile(path.Join("/", filepath.ToSlash(rel)), data)
	})
}

// Read returns the file name, a path below the k8s directory.
func (t *Tree) Read(name string) (string, error) {
	data, err := t.files.ReadFile(path.Join("/k8s", name))
	return string(data), err
}

// Write replaces the file name.
func (t *Tree) Write(name, content string) error {
	return t.files.WriteFile(path.Join("/k8s", name), []byte(content))
}

// Variants names everything that somebody could apply: the base with every
// set of components, every overlay, and the example of a second install. The
// names are directories, seen from k8s.
func (t *Tree) Variants() ([]string, error) {
	components, err := t.files.ReadDir("/k8s/components")
	if err != nil {
		return nil, fmt.Errorf("list components: %w", err)
	}
	var variants []string
	for set := range 1 << len(components) {
		var b strings.Builder
		b.WriteString("kind: Kustomization\nresources: [../../base]\ntransformers: [../../follow]\ncomponents:\n")
		name := "base"
		for i, component := range components {
			if set&(1<<i) != 0 {
				fmt.Fprintf(&b, "  - ../../components/%s\n", component)
				name += "-with-" + component
			}
		}
		dir := path.Join("variants", name)
		if err := t.Write(path.Join(dir, "kustomization.yaml"), b.String()); err != nil {
			return nil, err
		}
		variants = append(variants, dir)
	}
	overlays, err := t.files.ReadDir("/k8s/overlays")
	if err != nil {
		return nil, fmt.Errorf("list overlays: %w", err)
	}
	for _, overlay := range overlays {
		variants = append(variants, path.Join("overlays", overlay))
	}
	variants = append(variants, "../examples/second-install")
	slices.Sort(variants)
	return variants, nil
}

// YAML builds the kustomization in dir, as kubectl kustomize does.
func (t *Tree) YAML(dir string) ([]byte, error) {
	result, err := t.build(dir)
	if err != nil {
		return nil, err
	}
	return result.AsYaml()
}

func (t *Tree) build(dir string) (resmap.ResMap, error) {
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(t.files, path.Join("/k8s", dir))
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", dir, err)
	}
	return result, nil
}

// Render builds the kustomization in dir and decodes what comes out.
func (t *Tree) Render(dir string) (*Manifests, error) {
	result, err := t.build(dir)
	if err != nil {
		return nil, err
	}
	m := &Manifests{}
	for _, resource := range result.Resources() {
		document, err := resource.AsYAML()
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", dir, err)
		}
		if err := m.add(document); err != nil {
			return nil, fmt.Errorf("decode %s: %w", dir, err)
		}
	}
	return m, nil
}
