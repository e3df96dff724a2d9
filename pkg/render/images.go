package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// reference is a scalar that holds an image reference.
type reference struct {
	value
	object string
}

// Images lists the image references of the output in order of appearance,
// each reference of an object once.
//
// They are the image of every element of a list named containers,
// initContainers or ephemeralContainers and the image.reference of every
// element of a list named volumes, at any depth and in any kind, and what the
// configuration's image paths point to. Not looked into are
// CustomResourceDefinitions (their schemas describe such lists) and policies
// of Kyverno and Gatekeeper (their images are patterns). A container without
// an image is left alone; one with an empty image is an error that names the
// object.
func (o *Output) Images() ([]Image, error) {
	var images []Image
	seen := map[Image]bool{}
	for _, d := range o.documents {
		references, err := d.references(o.images)
		if err != nil {
			return nil, err
		}
		for _, r := range references {
			image := Image{Reference: r.node.Value, Object: r.object}
			if !seen[image] {
				seen[image] = true
				images = append(images, image)
			}
		}
	}
	return images, nil
}

// references finds a document's image references in order of appearance, each
// scalar once.
func (d *document) references(paths []config.ImagePath) ([]reference, error) {
	f := finder{paths: paths, seen: map[*yaml.Node]bool{}}
	f.walk(value{node: d.root}, "")
	slices.SortStableFunc(f.references, func(a, b reference) int {
		return cmp.Or(cmp.Compare(a.node.Line, b.node.Line), cmp.Compare(a.node.Column, b.node.Column))
	})
	for _, r := range f.references {
		switch tag := r.node.ShortTag(); {
		case tag == "!!null" || strings.TrimSpace(r.node.Value) == "":
			return nil, fmt.Errorf("%s: an image is empty (line %d of the rendered text)", r.object, d.line+r.node.Line-1)
		case tag != "!!str":
			return nil, fmt.Errorf("%s: image %s is not a string; quote it", r.object, r.node.Value)
		}
	}
	return f.references, nil
}

type finder struct {
	paths      []config.ImagePath
	references []reference
	seen       map[*yaml.Node]bool
}

func (f *finder) add(v value, object string) {
	if v.node.Kind == yaml.ScalarNode && !f.seen[v.node] {
		f.seen[v.node] = true
		f.references = append(f.references, reference{v, object})
	}
}

// walk visits the values below v; object is the nearest object around them.
func (f *finder) walk(v value, object string) {
	switch v.node.Kind {
	case yaml.SequenceNode:
		for _, item := range elements(v) {
			f.walk(item, object)
		}
	case yaml.MappingNode:
		if isObject(v.node) {
			apiVersion, kind := scalar(v.node, "apiVersion"), scalar(v.node, "kind")
			if describesOthers(group(apiVersion), kind) {
				return
			}
			object = kind + "/" + objectName(v.node)
			for _, p := range f.paths {
				if p.Kind == kind && (p.Group == "" || p.Group == group(apiVersion)) {
					f.follow(v, strings.Split(p.Path, "."), object)
				}
			}
		}
		for key, child := range fields(v.node) {
			child.shared = child.shared || v.shared
			switch key {
			case "containers", "initContainers", "ephemeralContainers":
				f.each(child, object, "image")
			case "volumes":
				f.each(child, object, "image", "reference")
			}
			f.walk(child, object)
		}
	}
}

// each takes one field of every element of a list.
func (f *finder) each(list value, object string, path ...string) {
	if list.node.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range elements(list) {
		f.follow(item, path, object)
	}
}

// follow goes down a path of field names; a name ending in [] is a list.
func (f *finder) follow(v value, path []string, object string) {
	if len(path) == 0 {
		f.add(v, object)
		return
	}
	name, list := strings.CutSuffix(path[0], "[]")
	for key, child := range fields(v.node) {
		if key != name {
			continue
		}
		child.shared = child.shared || v.shared
		if !list {
			f.follow(child, path[1:], object)
			continue
		}
		if child.node.Kind == yaml.SequenceNode {
			for _, item := range elements(child) {
				f.follow(item, path[1:], object)
			}
		}
	}
}

func elements(list value) []value {
	items := make([]value, 0, len(list.node.Content))
	for _, n := range list.node.Content {
		v := target(n)
		items = append(items, value{v.node, v.shared || list.shared})
	}
	return items
}

func group(apiVersion string) string {
	g, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return g
}

// describesOthers: the object speaks about the containers of other objects.
func describesOthers(group, kind string) bool {
	return kind == "CustomResourceDefinition" && group == "apiextensions.k8s.io" ||
		group == "kyverno.io" || strings.HasSuffix(group, ".kyverno.io") ||
		strings.HasSuffix(group, ".gatekeeper.sh")
}

func objectName(n *yaml.Node) string {
	metadata := field(n, "metadata")
	if metadata == nil {
		return ""
	}
	return cmp.Or(scalar(metadata, "name"), scalar(metadata, "generateName"))
}
