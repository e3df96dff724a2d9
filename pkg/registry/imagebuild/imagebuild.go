// Package imagebuild makes small but real container images: gzip-compressed
// tar layers, configurations, multi-platform indexes, and signatures that
// refer to them. The same description gives the same bytes and digests. It is
// what tests, benchmarks and the demo run on; it runs no build steps.
//
//	built, err := imagebuild.Index(imagebuild.Spec{
//		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
//		Files:     map[string]string{"app/version": "1.4.0"},
//	})
//	err = imagebuild.Push(ctx, reg, "orders", built, "1.4.0")
package imagebuild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Keys of the labels that say where an image comes from (OCI image spec).
const (
	LabelSource   = "org.opencontainers.image.source"
	LabelRevision = "org.opencontainers.image.revision"
	LabelCreated  = "org.opencontainers.image.created"
	LabelVersion  = "org.opencontainers.image.version"
)

// Files is the content of a layer: path without a leading slash to text.
type Files map[string]string

// Spec describes an image. The zero value is an image for linux/amd64 with one
// small layer.
type Spec struct {
	// Platforms of an Index; Image uses the first. Default: linux/amd64.
	Platforms []registry.Platform
	// Layers are the lower layers, the same for every platform: two images
	// with equal Files here share the blob.
	Layers []Files
	// Files is the top layer. A file etc/platform is added, so that it differs
	// from platform to platform.
	Files Files
	// Entrypoint of the container. The file that its first word names in Files
	// is executable; all others are not.
	Entrypoint []string
	// Labels of the configuration, LabelSource and so on.
	Labels map[string]string
	// Created is the time in the configuration, RFC 3339. Default: 1970.
	Created string
	// Docker chooses Docker's media types instead of OCI's.
	Docker bool
}

// Built is a manifest with everything below it, and what refers to it.
type Built struct {
	Manifest registry.Manifest
	// Blobs by digest: configuration and layers of this manifest.
	Blobs map[string][]byte
	// Children of an index.
	Children []Built
	// Referrers are pushed after the manifest.
	Referrers []Built
}

// Digest of the manifest.
func (b Built) Digest() string { return b.Manifest.Digest() }

// Refer returns b with referrers to push with it.
func (b Built) Refer(referrers ...Built) Built {
	b.Referrers = append(slices.Clone(b.Referrers), referrers...)
	return b
}

// Image builds an image for one platform. The only error is a path that no
// archive can hold.
func Image(spec Spec) (Built, error) {
	return image(spec, spec.platforms()[0])
}

// Index builds an index with an image for each platform.
func Index(spec Spec) (Built, error) {
	var children []Built
	for _, platform := range spec.platforms() {
		child, err := image(spec, platform)
		if err != nil {
			return Built{}, err
		}
		children = append(children, child)
	}
	b := IndexOf(children, spec.Docker)
	return b, nil
}

// IndexOf builds an index of manifests, which may be indexes themselves.
func IndexOf(children []Built, docker bool) Built {
	mediaType := registry.MediaTypeOCIIndex
	if docker {
		mediaType = registry.MediaTypeDockerList
	}
	entries := []registry.Descriptor{}
	for _, child := range children {
		d := child.Manifest.Descriptor()
		d.Platform = child.platform()
		entries = append(entries, d)
	}
	raw := encode(struct {
		SchemaVersion int                   `json:"schemaVersion"`
		MediaType     string                `json:"mediaType"`
		Manifests     []registry.Descriptor `json:"manifests"`
	}{2, mediaType, entries})
	return Built{Manifest: registry.Manifest{MediaType: mediaType, Raw: raw}, Children: children}
}

func (s Spec) platforms() []registry.Platform {
	if len(s.Platforms) == 0 {
		return []registry.Platform{{OS: "linux", Architecture: "amd64"}}
	}
	return s.Platforms
}

type config struct {
	Created      string            `json:"created"`
	Architecture string            `json:"architecture"`
	OS           string            `json:"os"`
	Variant      string            `json:"variant,omitempty"`
	Config       containerSettings `json:"config"`
	RootFS       rootFS            `json:"rootfs"`
}

type containerSettings struct {
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

func image(spec Spec, platform registry.Platform) (Built, error) {
	manifestType, configType, layerType := registry.MediaTypeOCIManifest,
		"application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
	if spec.Docker {
		manifestType, configType, layerType = registry.MediaTypeDockerManifest,
			"application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	top := maps.Clone(spec.Files)
	if top == nil {
		top = Files{}
	}
	top["etc/platform"] = platform.String() + "\n"

	b := Built{Blobs: map[string][]byte{}}
	settings := config{
		Created: spec.Created, Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant,
		Config: containerSettings{Entrypoint: spec.Entrypoint, Labels: spec.Labels}, RootFS: rootFS{Type: "layers"},
	}
	if settings.Created == "" {
		settings.Created = "1970-01-01T00:00:00Z"
	}
	var program string
	if len(spec.Entrypoint) > 0 {
		program = strings.TrimPrefix(spec.Entrypoint[0], "/")
	}
	var layers []registry.Descriptor
	for _, files := range append(slices.Clone(spec.Layers), top) {
		archive, err := archive(files, program)
		if err != nil {
			return Built{}, err
		}
		settings.RootFS.DiffIDs = append(settings.RootFS.DiffIDs, registry.Digest(archive))
		layers = append(layers, b.add(layerType, compress(archive)))
	}
	descriptor := b.add(configType, encode(settings))
	b.Manifest = registry.Manifest{MediaType: manifestType, Raw: encode(manifest{
		SchemaVersion: 2, MediaType: manifestType, Config: descriptor, Layers: layers,
	})}
	return b, nil
}

type manifest struct {
	SchemaVersion int                   `json:"schemaVersion"`
	MediaType     string                `json:"mediaType"`
	ArtifactType  string                `json:"artifactType,omitempty"`
	Config        registry.Descriptor   `json:"config"`
	Layers        []registry.Descriptor `json:"layers"`
	Subject       *registry.Descriptor  `json:"subject,omitempty"`
	Annotations   map[string]string     `json:"annotations,omitempty"`
}

func (b Built) add(mediaType string, content []byte) registry.Descriptor {
	d := registry.Descriptor{MediaType: mediaType, Digest: registry.Digest(content), Size: int64(len(content))}
	b.Blobs[d.Digest] = content
	return d
}

// platform reads an image's platform back from its configuration.
func (b Built) platform() *registry.Platform {
	parts, err := b.Manifest.Parse()
	if err != nil || parts.Config == nil {
		return nil
	}
	var settings config
	if json.Unmarshal(b.Blobs[parts.Config.Digest], &settings) != nil || settings.OS == "" {
		return nil
	}
	return &registry.Platform{OS: settings.OS, Architecture: settings.Architecture, Variant: settings.Variant}
}

// archive writes files in order of their names, with no owner and no time. The
// one called program is executable.
func archive(files Files, program string) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, "/") || slices.Contains(strings.Split(name, "/"), "..") {
			return nil, fmt.Errorf("layer file %q: the path must stay below the root", name)
		}
		mode := int64(0o644)
		if name == program {
			mode = 0o755
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(files[name])), ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("layer file %q: %w", name, err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return nil, fmt.Errorf("layer file %q: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return buffer.Bytes(), nil
}

// compressors are kept, since each takes a megabyte, and a layer some hundred
// bytes.
var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a valid one
	}
	return w
}}

func compress(content []byte) []byte {
	var buffer bytes.Buffer
	w, _ := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&buffer)
	_, err := w.Write(content)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return buffer.Bytes()
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own plain structs are encoded
	}
	return raw
}
