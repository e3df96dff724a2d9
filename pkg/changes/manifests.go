package changes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
)

// Manifest is one Kubernetes object that differs.
type Manifest struct {
	Environment string `json:"environment"`
	Application string `json:"application"`
	APIVersion  string `json:"apiVersion"`
	Kind        string `json:"kind"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name"`
	Change      Kind   `json:"change"`
	// Patch is a unified diff of the object, its fields sorted, without comments.
	// In a Secret, equal values have equal numbers and are not shown.
	Patch string `json:"patch"`
}

// Manifests renders both sides for an environment, as Argo CD would be given
// them, and lists the objects that differ: by application, kind, namespace and
// name. Objects that differ in order or comments alone are equal. Templates that
// ask for the cluster's capabilities see built-in ones unless the configuration
// fixes them.
//
// An environment or application that only one side has is not an error. Errors
// of rendering name the version.
func Manifests(ctx context.Context, r gitrepo.Objects, a, b Side, environment string) ([]Manifest, error) {
	before, err := a.objects(ctx, r, environment)
	if err != nil {
		return nil, err
	}
	after, err := b.objects(ctx, r, environment)
	if err != nil {
		return nil, err
	}
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	manifests := []Manifest{}
	for _, key := range slices.SortedFunc(maps.Keys(keys), objectKey.compare) {
		old, now := before[key], after[key]
		if old.text == now.text {
			continue
		}
		m := Manifest{
			Environment: environment, Application: key.application, APIVersion: cmp.Or(now.apiVersion, old.apiVersion),
			Kind: key.kind, Namespace: key.namespace, Name: key.name, Change: Changed,
		}
		from, to := "a/"+m.title(), "b/"+m.title()
		switch {
		case old.text == "":
			m.Change, from = Added, "/dev/null"
		case now.text == "":
			m.Change, to = Removed, "/dev/null"
		}
		hide := hider{}
		oldText, err := hide.text(old)
		if err != nil {
			return nil, err
		}
		nowText, err := hide.text(now)
		if err != nil {
			return nil, err
		}
		m.Patch = unified(from, to, oldText, nowText)
		manifests = append(manifests, m)
	}
	return manifests, nil
}

// title names the object in a patch.
func (m Manifest) title() string {
	return strings.Join(slices.DeleteFunc([]string{m.Environment, m.Application, m.Kind, m.Namespace, m.Name}, func(s string) bool { return s == "" }), "/")
}

// objectKey is what makes two objects the same one. The version of an API does
// not count.
type objectKey struct {
	application, kind, group, namespace, name string
	// again counts objects that have all the rest in common.
	again int
}

func (k objectKey) compare(l objectKey) int {
	return cmp.Or(cmp.Compare(k.application, l.application), cmp.Compare(k.kind, l.kind), cmp.Compare(k.group, l.group),
		cmp.Compare(k.namespace, l.namespace), cmp.Compare(k.name, l.name), cmp.Compare(k.again, l.again))
}

// object is one rendered object.
type object struct {
	apiVersion string
	node       *yaml.Node
	text       string
}

// objects renders an environment of one side.
func (s Side) objects(ctx context.Context, r gitrepo.Objects, environment string) (map[objectKey]object, error) {
	all := map[objectKey]object{}
	if s.IsZero() {
		return all, nil
	}
	e, ok := s.Pipeline.Environment(environment)
	if !ok {
		return all, nil
	}
	tree := gitrepo.TreeFS(r, s.tree())
	applications, err := render.Discover(tree, e)
	if err != nil {
		return nil, fmt.Errorf("%s: environment %s: %w", s.Snapshot.Lock.Version, environment, err)
	}
	for _, application := range applications {
		result, err := pinned.Render(ctx, pinned.Input{
			FS: tree, Pipeline: s.Pipeline, Environment: environment, Application: application, Lookup: s.Snapshot.Lock.Lookup,
		})
		if err == nil {
			err = collect(all, application.Name, result.YAML)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: environment %s: %w", s.Snapshot.Lock.Version, environment, err)
		}
	}
	return all, nil
}

// collect adds the objects of rendered text.
func collect(all map[objectKey]object, application string, text []byte) error {
	documents, err := render.Documents(text)
	if err != nil {
		return err
	}
	for _, document := range documents {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(document), &node); err != nil {
			return err
		}
		if err := collectNode(all, application, node.Content[0]); err != nil {
			return err
		}
	}
	return nil
}

func collectNode(all map[objectKey]object, application string, node *yaml.Node) error {
	node = plain(node)
	apiVersion, kind := scalar(node, "apiVersion"), scalar(node, "kind")
	if items := value(node, "items"); items != nil && items.Kind == yaml.SequenceNode && strings.HasSuffix(kind, "List") {
		for _, item := range items.Content {
			if err := collectNode(all, application, item); err != nil {
				return err
			}
		}
		return nil
	}
	metadata := value(node, "metadata")
	group, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		group = ""
	}
	key := objectKey{
		application: application, kind: kind, group: group, namespace: scalar(metadata, "namespace"),
		name: cmp.Or(scalar(metadata, "name"), scalar(metadata, "generateName")+"*"),
	}
	for _, there := all[key]; there; _, there = all[key] {
		key.again++
	}
	text, err := write(node)
	all[key] = object{apiVersion: apiVersion, node: node, text: text}
	return err
}

func write(node *yaml.Node) (string, error) {
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return "", err
	}
	return b.String(), encoder.Close()
}

// plain copies a node without comments, anchors and styles, its fields sorted.
// How far aliases may grow has been checked where the text was read.
func plain(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	copied := &yaml.Node{Kind: node.Kind, Tag: node.Tag, Value: node.Value}
	for _, child := range node.Content {
		copied.Content = append(copied.Content, plain(child))
	}
	if node.Kind == yaml.MappingNode {
		type field [2]*yaml.Node
		var fields []field
		for i := 0; i+1 < len(copied.Content); i += 2 {
			fields = append(fields, field{copied.Content[i], copied.Content[i+1]})
		}
		slices.SortStableFunc(fields, func(a, b field) int { return cmp.Compare(a[0].Value, b[0].Value) })
		copied.Content = copied.Content[:0]
		for _, f := range fields {
			copied.Content = append(copied.Content, f[0], f[1])
		}
	}
	return copied
}

// value is a field of a mapping; nil when it is not there.
func value(node *yaml.Node, name string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

func scalar(node *yaml.Node, name string) string {
	if v := value(node, name); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// hider numbers the values of one Secret, so that one sees which of them changed
// and nothing else. A hash would show too much: whoever guesses a short password
// can tell by its hash that the guess was right.
type hider map[string]int

// lastApplied is where kubectl keeps a copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// text is the text of an object as it may be shown.
func (h hider) text(o object) (string, error) {
	if o.node == nil || scalar(o.node, "kind") != "Secret" {
		return o.text, nil
	}
	for _, name := range []string{"data", "stringData"} {
		switch v := value(o.node, name); {
		case v == nil:
		case v.Kind == yaml.MappingNode:
			for i := 1; i < len(v.Content); i += 2 {
				if err := h.hide(v.Content[i]); err != nil {
					return "", err
				}
			}
		default:
			if err := h.hide(v); err != nil {
				return "", err
			}
		}
	}
	if v := value(value(value(o.node, "metadata"), "annotations"), lastApplied); v != nil {
		if err := h.hide(v); err != nil {
			return "", err
		}
	}
	return write(o.node)
}

func (h hider) hide(node *yaml.Node) error {
	text, err := write(node)
	if err != nil {
		return err
	}
	if h[text] == 0 {
		h[text] = len(h) + 1
	}
	*node = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "(secret value " + strconv.Itoa(h[text]) + ")"}
	return nil
}
