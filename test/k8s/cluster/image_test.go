//go:build cluster

package cluster

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// maxImageBytes is what the proxy's image may weigh, unpacked.
const maxImageBytes = 20 << 20

// The image holds the binary and the certificates, for a user who is not root.
func TestImage(t *testing.T) {
	file, err := os.Open(filepath.Join(os.Getenv("CLUSTER_IMAGES"), "proxy.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var files []string
	var size int64
	for name, content := range entries(t, file) {
		switch {
		case strings.HasSuffix(name, ".tar"):
			layer, bytes := layer(t, content)
			files, size = append(files, layer...), size+bytes
		case strings.HasSuffix(name, ".json") && name != "manifest.json":
			checkImageConfig(t, content)
		}
	}
	slices.Sort(files)
	if want := []string{"anthropic-oauth-proxy", "etc/ssl/certs/ca-certificates.crt"}; !slices.Equal(files, want) {
		t.Errorf("the image holds %q, want %q", files, want)
	}
	if size > maxImageBytes {
		t.Errorf("the image is %d bytes, want at most %d", size, maxImageBytes)
	}
	t.Logf("%d bytes in %q", size, files)
}

// The same commit is the same image. Of the configuration only what buildah
// invents for its own working container may differ; the release's builder writes
// nothing of the kind.
func TestImageIsReproducible(t *testing.T) {
	image := func(archive string) (layers []string, config map[string]any) {
		file, err := os.Open(filepath.Join(os.Getenv("CLUSTER_IMAGES"), archive))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for name, content := range entries(t, file) {
			switch {
			case strings.HasSuffix(name, ".tar"):
				layers = append(layers, name) // its digest
			case strings.HasSuffix(name, ".json") && name != "manifest.json":
				if err := json.NewDecoder(content).Decode(&config); err != nil {
					t.Fatal(err)
				}
			}
		}
		delete(config, "container")
		for _, part := range []string{"config", "container_config"} {
			if object, ok := config[part].(map[string]any); ok {
				delete(object, "Hostname")
			}
		}
		return layers, config
	}
	layers, config := image("proxy.tar")
	layersAgain, configAgain := image("again/proxy.tar")
	t.Log(layers)
	if len(layers) == 0 || !slices.Equal(layers, layersAgain) {
		t.Errorf("two builds of one commit have the layers %q and %q", layers, layersAgain)
	}
	if config["created"] == nil || !reflect.DeepEqual(config, configAgain) {
		t.Errorf("two builds of one commit have the configurations\n%v\n%v", config, configAgain)
	}
}

func checkImageConfig(t *testing.T, content io.Reader) {
	var image struct {
		Config struct {
			User         string
			Entrypoint   []string
			ExposedPorts map[string]any
			Labels       map[string]string
		} `json:"config"`
	}
	if err := json.NewDecoder(content).Decode(&image); err != nil {
		t.Fatalf("read image configuration: %v", err)
	}
	c := image.Config
	if c.User != "1000:1000" || !slices.Equal(c.Entrypoint, []string{"/anthropic-oauth-proxy"}) {
		t.Errorf("user %q, entry point %q", c.User, c.Entrypoint)
	}
	for _, port := range []string{"8080/tcp", "9090/tcp"} {
		if _, ok := c.ExposedPorts[port]; !ok {
			t.Errorf("port %s is not exposed", port)
		}
	}
	if c.Labels["org.opencontainers.image.version"] != "test" || len(c.Labels["org.opencontainers.image.revision"]) != 40 {
		t.Errorf("labels: %v", c.Labels)
	}
}

// entries walks an archive; a content is valid until the next step.
func entries(t *testing.T, r io.Reader) func(func(string, io.Reader) bool) {
	return func(yield func(string, io.Reader) bool) {
		for archive := tar.NewReader(r); ; {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("read archive: %v", err)
			}
			if header.Typeflag == tar.TypeReg && !yield(header.Name, archive) {
				return
			}
		}
	}
}

// layer lists a layer's files and adds up their sizes.
func layer(t *testing.T, r io.Reader) (files []string, size int64) {
	for name, content := range entries(t, r) {
		n, err := io.Copy(io.Discard, content)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		files, size = append(files, name), size+n
	}
	return files, size
}
