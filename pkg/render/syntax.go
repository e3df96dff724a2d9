package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// syntaxError is a fault in YAML text at a line of that text (0: unknown).
type syntaxError struct {
	line int
	msg  string
}

func (e *syntaxError) Error() string { return e.msg }

var yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?([\s\S]*)$`)

// asSyntax takes the line out of a message of the YAML library and moves it
// down by the lines before the text.
func asSyntax(err error, before int) *syntaxError {
	m := yamlMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return &syntaxError{msg: err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	if line > 0 {
		line += before
	} else {
		line = before + 1
	}
	return &syntaxError{line: line, msg: "invalid YAML: " + m[2]}
}

var bom = []byte("\xef\xbb\xbf")

// parseYAML parses the documents of a file, leaving out empty ones. Documents
// that grow or nest beyond reason once their aliases are expanded are an
// error, so what comes back may be walked without further guard.
func parseYAML(text []byte) (roots []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some broken inputs
			roots, err = nil, &syntaxError{msg: fmt.Sprintf("invalid YAML: %v", p)}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, bom)))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, asSyntax(err, 0)
		}
		if len(doc.Content) != 1 {
			continue
		}
		root := doc.Content[0]
		if err := bounded(root, false); err != nil {
			return nil, err
		}
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			continue
		}
		roots = append(roots, root)
	}
}

// bounded checks the size of a document with its aliases expanded, and if
// strict that all readers understand it alike.
func bounded(root *yaml.Node, strict bool) error {
	c := counter{sizes: map[*yaml.Node]int{}, strict: strict}
	_, err := c.size(root, 0)
	return err
}

// counter computes expanded sizes; an anchored node is visited once. A size of
// -1 marks a node whose expansion is under way: meeting it again is a cycle.
type counter struct {
	sizes  map[*yaml.Node]int
	strict bool
}

func (c *counter) size(n *yaml.Node, depth int) (int, error) {
	if depth > maxDepth {
		return 0, &syntaxError{line: n.Line, msg: fmt.Sprintf("YAML nests deeper than %d levels", maxDepth)}
	}
	if n.Kind == yaml.AliasNode {
		switch known, ok := c.sizes[n.Alias]; {
		case ok && known < 0:
			return 0, &syntaxError{line: n.Line, msg: "YAML anchor &" + n.Value + " contains itself"}
		case ok:
			return known, nil
		}
		return c.size(n.Alias, depth+1)
	}
	if n.Anchor != "" {
		c.sizes[n] = -1
	}
	total := 1
	for _, child := range n.Content {
		size, err := c.size(child, depth+1)
		if err != nil {
			return 0, err
		}
		if total += size; total > maxNodes {
			return 0, &syntaxError{line: n.Line, msg: fmt.Sprintf("YAML has more than %d values once its aliases are expanded", maxNodes)}
		}
	}
	if n.Anchor != "" {
		c.sizes[n] = total
	}
	if !c.strict {
		return total, nil
	}
	// Only now is it known that nothing below contains itself.
	return total, unambiguous(n)
}

// unambiguous refuses mappings that readers of YAML understand in different
// ways: Kubernetes' own lets a merge override what stands before it, the
// library used here never, and only some decode binary keys. An image could
// hide in the difference.
func unambiguous(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	var before map[string]bool
	merged := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := target(n.Content[i]).node
		switch {
		case isMerge(key) && merged:
			return &syntaxError{line: key.Line, msg: "two merge keys (<<) in one map; write <<: [*a, *b]"}
		case isMerge(key):
			merged = true
			for name := range fields(&yaml.Node{Kind: yaml.MappingNode, Content: n.Content[i : i+2]}) {
				if before[name] {
					return &syntaxError{line: key.Line, msg: "merge key (<<) after " + name + ", which it also has; put << first"}
				}
			}
		case key.ShortTag() == "!!binary":
			return &syntaxError{line: key.Line, msg: "binary map key"}
		case key.Kind == yaml.ScalarNode:
			if before == nil {
				before = map[string]bool{}
			}
			before[key.Value] = true
		}
	}
	return nil
}

// field returns the value of a key of a mapping, nil if it is not there. Of a
// repeated key the last counts, as it does for Kubernetes.
func field(n *yaml.Node, key string) *yaml.Node {
	var last *yaml.Node
	for k, v := range fields(n) {
		if k == key {
			last = v.node
		}
	}
	return last
}

// scalar returns the value of a scalar field, "" if there is none.
func scalar(n *yaml.Node, key string) string {
	if v := field(n, key); v != nil && v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
		return v.Value
	}
	return ""
}

// isObject reports whether a document is a Kubernetes object.
func isObject(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && scalar(n, "apiVersion") != "" && scalar(n, "kind") != ""
}
