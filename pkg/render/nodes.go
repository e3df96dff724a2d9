package render

import (
	"iter"

	"go.yaml.in/yaml/v3"
)

// value is a node of a document as a reader of the data sees it: aliases and
// merge keys are followed. shared says that the way to it went through one, so
// the node's text stands somewhere else in the document.
type value struct {
	node   *yaml.Node
	shared bool
}

// target follows aliases.
func target(n *yaml.Node) value {
	shared := false
	for n.Kind == yaml.AliasNode {
		n, shared = n.Alias, true
	}
	return value{n, shared}
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.ShortTag() == "!!merge"
}

// fields iterates over the scalar keys of a mapping: its own first, in order
// and repeated if repeated, then those it merges in and does not override.
func fields(n *yaml.Node) iter.Seq2[string, value] {
	return func(yield func(string, value) bool) {
		if n.Kind == yaml.MappingNode {
			eachField(n, false, map[string]bool{}, yield)
		}
	}
}

func eachField(n *yaml.Node, shared bool, hidden map[string]bool, yield func(string, value) bool) bool {
	own := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			continue
		}
		key, v := target(n.Content[i]).node, target(n.Content[i+1])
		if key.Kind != yaml.ScalarNode || hidden[key.Value] {
			continue
		}
		own[key.Value] = true
		if !yield(key.Value, value{v.node, v.shared || shared}) {
			return false
		}
	}
	for key := range own {
		hidden[key] = true
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		merged := target(n.Content[i+1]).node
		sources := []*yaml.Node{merged}
		if merged.Kind == yaml.SequenceNode {
			sources = merged.Content
		}
		for _, s := range sources {
			s = target(s).node
			if s.Kind == yaml.MappingNode && !eachField(s, true, hidden, yield) {
				return false
			}
		}
	}
	return true
}

// expand copies a node with aliases and merge keys written out and the given
// scalars replaced.
func expand(n *yaml.Node, replace map[*yaml.Node]string) *yaml.Node {
	n = target(n).node
	c := *n
	c.Anchor, c.Alias, c.Content = "", nil, nil
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			// Keys that are no scalars cannot be merged over; they are copied.
			if key := target(n.Content[i]).node; key.Kind != yaml.ScalarNode {
				c.Content = append(c.Content, expand(key, replace), expand(n.Content[i+1], replace))
			}
		}
		keys := keyNodes(n)
		for name, v := range fields(n) {
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
			if k, ok := keys[name]; ok {
				copied := *k
				copied.Anchor = ""
				key = &copied
			}
			c.Content = append(c.Content, key, expand(v.node, replace))
		}
	default:
		for _, child := range n.Content {
			c.Content = append(c.Content, expand(child, replace))
		}
	}
	if n.Kind == yaml.ScalarNode {
		if v, ok := replace[n]; ok {
			c.Value, c.Tag, c.Style = v, "!!str", 0
		}
	}
	return &c
}

func keyNodes(n *yaml.Node) map[string]*yaml.Node {
	keys := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := target(n.Content[i]).node; key.Kind == yaml.ScalarNode && !isMerge(n.Content[i]) {
			keys[key.Value] = key
		}
	}
	return keys
}

// equal compares two expanded nodes as data.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) || a.ShortTag() != b.ShortTag() {
		return false
	}
	if a.Kind == yaml.ScalarNode && a.Value != b.Value {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
