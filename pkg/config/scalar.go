package config

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) texts(into *[]string) func(value) {
	return d.list(func(v value) {
		var element string
		if v.node != nil {
			d.text(&element)(v)
		}
		*into = append(*into, element)
	})
}

func (d *decoder) text(into *string) func(value) {
	return func(v value) {
		switch {
		case v.node.Kind == yaml.ScalarNode && v.node.ShortTag() != "!!str" && v.node.Style == 0:
			d.add(v.path, "expected text, found %s; put it in quotes", describe(v.node))
		case v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str":
			d.add(v.path, "expected text, found %s", describe(v.node))
		case v.node.Value == "":
			d.add(v.path, "is empty; give it a value or remove it")
		default:
			*into = v.node.Value
		}
	}
}

// date decodes a text that YAML may take for a date.
func (d *decoder) date(into *string) func(value) {
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!timestamp" {
			*into = v.node.Value
			return
		}
		d.text(into)(v)
	}
}

// oneOf decodes a text that is one of a few.
func oneOf[T ~string](d *decoder, into *T, allowed ...T) func(value) {
	return func(v value) {
		var s string
		d.text(&s)(v)
		switch {
		case s == "":
		case slices.Contains(allowed, T(s)):
			*into = T(s)
		case len(allowed) == 1:
			d.add(v.path, "is %s, must be %s", quote(s), allowed[0])
		default:
			names := make([]string, len(allowed))
			for i, a := range allowed {
				names[i] = string(a)
			}
			d.add(v.path, "is %s, must be %s", quote(s), or(names))
		}
	}
}

// someOf decodes one of a few texts, or a list of them.
func someOf[T ~string](d *decoder, into *[]T, allowed ...T) func(value) {
	one := func(v value) {
		var element T
		if v.node != nil {
			oneOf(d, &element, allowed...)(v)
		}
		*into = append(*into, element)
	}
	return func(v value) {
		switch {
		case v.node.Kind == yaml.ScalarNode:
			one(v)
		case v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0:
			d.add(v.path, "is empty; write a word or remove it")
		default:
			d.list(one)(v)
		}
	}
}

func (d *decoder) number(into *int) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" || v.node.Decode(into) != nil {
			d.add(v.path, "expected a whole number, found %s", describe(v.node))
		}
	}
}

func (d *decoder) flag(into *bool) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!bool" || v.node.Decode(into) != nil {
			d.add(v.path, "expected true or false, found %s", describe(v.node))
		}
	}
}

func (d *decoder) duration(into *time.Duration) func(value) {
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode {
			if parsed, err := time.ParseDuration(v.node.Value); err == nil {
				*into = parsed
				return
			}
		}
		d.add(v.path, "expected a duration such as 30m, 4h or 48h, found %s", describe(v.node))
	}
}

// describe names what a node is, for "expected …, found …".
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "fields (name: value)"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch tag := node.ShortTag(); tag {
	case "!!str":
		return "the text " + quote(node.Value)
	case "!!int", "!!float":
		return "the number " + clip(node.Value)
	case "!!bool":
		return clip(node.Value)
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date " + clip(node.Value)
	default:
		return "a value tagged " + clip(tag)
	}
}
