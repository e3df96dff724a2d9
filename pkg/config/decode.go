package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxValues counts every field and list element with aliases written out,
	// so that a few lines of nested aliases cannot occupy a process.
	maxValues = 20_000
	// maxElements of one list or object.
	maxElements = 1000
)

// decoder walks a YAML document along the fields that the configuration knows
// and reports everything that does not fit.
type decoder struct {
	*report
	values int
}

// value is a YAML node (never an alias) and its path.
type value struct {
	path string
	node *yaml.Node
}

// field of an object.
type field struct {
	name     string
	decode   func(value)
	required bool
}

func required(name string, decode func(value)) field { return field{name, decode, true} }
func optional(name string, decode func(value)) field { return field{name, decode, false} }

// enter makes a node the value at path and records its position. It reports
// false when there is nothing to decode.
func (d *decoder) enter(path string, key, node *yaml.Node) (value, bool) {
	if d.values > maxValues {
		return value{}, false
	}
	if d.values++; d.values > maxValues {
		d.add("", "the file has more than %d values when its aliases are written out", maxValues)
		return value{}, false
	}
	at := node
	// An alias of an alias does not exist in YAML, so one step is enough.
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if key != nil && at.Kind != yaml.ScalarNode && at.Kind != yaml.AliasNode {
		at = key
	}
	d.positions[path] = position{at.Line, at.Column}
	if isNull(node) {
		d.add(path, "has no value; give it one or remove it")
		return value{}, false
	}
	return value{path, node}, true
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// object decodes a mapping with known fields. Noun says what a key is called
// in messages.
func (d *decoder) object(v value, noun string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	seen := d.mapping(v, func(key string, keyNode, node *yaml.Node) {
		path := join(v.path, key)
		at := slices.Index(names, key)
		if at < 0 {
			hint := nearest(key, names)
			d.addAt(position{keyNode.Line, keyNode.Column}, path, "unknown %s; %s", noun, suggestion(hint, names))
			if hint != "" {
				d.faulty[join(v.path, hint)] = true // it is misspelt rather than missing
			}
			return
		}
		if inner, ok := d.enter(path, keyNode, node); ok {
			fields[at].decode(inner)
		}
	})
	if seen == nil {
		return
	}
	for _, f := range fields {
		path := join(v.path, f.name)
		if f.required && !seen[f.name] && !d.faulty[path] {
			d.add(path, "is missing")
		}
	}
}

// filled reports an object without any field.
func (d *decoder) filled(v value, hint string) bool {
	if v.node.Kind == yaml.MappingNode && len(v.node.Content) == 0 {
		d.add(v.path, "is empty; %s", hint)
		return false
	}
	return true
}

// mapping calls each for every key in the order of the file. It returns the
// keys, nil when v is no mapping.
func (d *decoder) mapping(v value, each func(key string, keyNode, node *yaml.Node)) map[string]bool {
	if v.node.Kind != yaml.MappingNode {
		d.add(v.path, "expected fields (name: value), found %s", describe(v.node))
		return nil
	}
	if len(v.node.Content) > 2*maxElements {
		d.add(v.path, "has %d fields; at most %d are read", len(v.node.Content)/2, maxElements)
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		at := position{key.Line, key.Column}
		switch {
		case key.ShortTag() == "!!merge":
			d.addAt(at, v.path, "merge keys (<<) are not supported; write the fields out")
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			d.addAt(at, v.path, "a field's name must be text, found %s", describe(key))
		case seen[key.Value]:
			d.addAt(at, join(v.path, key.Value), "is given twice")
		default:
			seen[key.Value] = true
			each(key.Value, key, node)
		}
	}
	return seen
}

// list decodes every element of a list.
func (d *decoder) list(each func(value)) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.SequenceNode {
			hint := ""
			if v.node.Kind == yaml.ScalarNode {
				hint = fmt.Sprintf("; write [%s]", clip(v.node.Value))
			}
			d.add(v.path, "expected a list, found %s%s", describe(v.node), hint)
			return
		}
		if len(v.node.Content) > maxElements {
			d.add(v.path, "has %d elements; at most %d are read", len(v.node.Content), maxElements)
			return
		}
		for i, node := range v.node.Content {
			inner, ok := d.enter(fmt.Sprintf("%s[%d]", v.path, i), nil, node)
			if !ok {
				// Elements keep their index even when they are broken.
				inner = value{path: fmt.Sprintf("%s[%d]", v.path, i)}
			}
			each(inner)
		}
	}
}

// listOf decodes a list of objects. A broken element stays in the list as far
// as it could be read, so that indexes in paths remain true.
func listOf[T any](d *decoder, into *[]T, fields func(*decoder, *T) []field) func(value) {
	return d.list(func(v value) {
		var element T
		if v.node != nil {
			d.object(v, "field", fields(d, &element))
		}
		*into = append(*into, element)
	})
}

// objectOf decodes one object.
func objectOf[T any](d *decoder, into *T, fields func(*decoder, *T) []field) func(value) {
	return func(v value) { d.object(v, "field", fields(d, into)) }
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// join appends a key to a path.
func join(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

func suggestion(hint string, names []string) string {
	if hint != "" {
		return "did you mean " + hint + "?"
	}
	if len(names) == 0 {
		return "there are none here"
	}
	const enough = 20
	more := ""
	if len(names) > enough {
		names, more = names[:enough], ", …"
	}
	return "known here: " + strings.Join(names, ", ") + more
}
