package merge

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of what is looked at as YAML.
const (
	maxYAMLSize  = 2 << 20
	maxYAMLDepth = 100
)

// yamlFile is a text and the documents in it. Line ends are newlines, and the
// last line has one.
type yamlFile struct {
	lines  []string
	starts []int     // offset of each line, and of the end
	docs   []yamlDoc // those with content

	known   map[string]bool // the lines, once somebody has asked for one
	columns map[int][]int   // offsets of the characters of long lines, likewise
}

// has reports whether the file has such a line.
func (f *yamlFile) has(line string) bool {
	if f.known == nil {
		f.known = map[string]bool{}
		for _, line := range f.lines {
			f.known[line] = true
		}
	}
	return f.known[line]
}

// yamlDoc is one document. Lines count from 0; the nodes' own from 1, both from
// the beginning of the file.
type yamlDoc struct {
	first int // the line of its marker, or its first line
	body  int // the line after the marker
	last  int // the line after its last
	root  *yaml.Node
	id    string // apiVersion, kind, namespace, name; empty unless it has a kind and a name
}

// parseYAML reads a text. What it does not accept can be valid YAML: directives,
// document ends, keys that are not scalars. Nothing is expanded or resolved.
func parseYAML(text string) (*yamlFile, error) {
	if len(text) > maxYAMLSize {
		return nil, fmt.Errorf("more than %d MiB of YAML", maxYAMLSize>>20)
	}
	if strings.HasPrefix(text, "\ufeff") || strings.ContainsAny(text, "\r\u0085\u2028\u2029") {
		return nil, errors.New("line ends or marks of another kind")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	f := &yamlFile{lines: splitLines(text)}
	offset := 0
	for _, line := range f.lines {
		f.starts = append(f.starts, offset)
		offset += len(line)
	}
	f.starts = append(f.starts, offset)

	// A line that begins with three dashes begins a document wherever it
	// stands: no scalar may contain it (YAML 1.2, c-forbidden).
	doc := yamlDoc{}
	for i, line := range f.lines {
		switch {
		case isMarker(line, "..."), strings.HasPrefix(line, "%"):
			return nil, fmt.Errorf("line %d: directives and document ends are not read", i+1)
		case isMarker(line, "---"):
			if rest := strings.TrimSpace(line[3:]); rest != "" && rest[0] != '#' {
				return nil, fmt.Errorf("line %d: content beside a document's marker is not read", i+1)
			}
			if err := f.add(doc, i); err != nil {
				return nil, err
			}
			doc = yamlDoc{first: i, body: i + 1}
		}
	}
	return f, f.add(doc, len(f.lines))
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\n"))
}

// add parses the document that ends before a line.
func (f *yamlFile) add(doc yamlDoc, end int) error {
	doc.last = end
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(strings.Join(f.lines[doc.body:end], "")), &node); err != nil {
		return err
	}
	if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
		return nil
	}
	doc.root = node.Content[0]
	if err := check(doc.root, doc.body, 0); err != nil {
		return err
	}
	doc.id = identity(doc.root)
	f.docs = append(f.docs, doc)
	return nil
}

// check makes line numbers count from the file's beginning and refuses what
// the merge does not understand.
func check(n *yaml.Node, offset, depth int) error {
	n.Line += offset
	if depth > maxYAMLDepth {
		return fmt.Errorf("line %d: nested deeper than %d", n.Line, maxYAMLDepth)
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || seen[scalarID(key)] {
				return fmt.Errorf("line %d: a key that is not a scalar, or is there twice", key.Line+offset)
			}
			seen[scalarID(key)] = true
		}
	}
	for _, c := range n.Content {
		if err := check(c, offset, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// scalarID is equal for equal scalars: 1 and "1" are not.
func scalarID(n *yaml.Node) string { return n.ShortTag() + " " + n.Value }

// child returns the value of a string key.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].ShortTag() == "!!str" {
			return n.Content[i+1]
		}
	}
	return nil
}

// identity names the object of Kubernetes that a document is.
func identity(root *yaml.Node) string {
	var parts []string
	meta := child(root, "metadata")
	for _, n := range []*yaml.Node{child(root, "apiVersion"), child(root, "kind"), child(meta, "namespace"), child(meta, "name")} {
		part := ""
		if n != nil && n.Kind == yaml.ScalarNode {
			part = n.Value
		}
		parts = append(parts, part)
	}
	if parts[1] == "" || parts[3] == "" {
		return ""
	}
	return strings.Join(parts, " ")
}

// equalNodes compares what nodes mean: the order of keys, comments and style do
// not matter. An alias equals the same alias.
func equalNodes(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind != b.Kind || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	switch a.Kind {
	case yaml.ScalarNode:
		return scalarID(a) == scalarID(b)
	case yaml.AliasNode:
		return a.Value == b.Value
	case yaml.SequenceNode:
		return a.ShortTag() == b.ShortTag() && slices.EqualFunc(a.Content, b.Content, equalNodes)
	case yaml.MappingNode:
		if a.ShortTag() != b.ShortTag() {
			return false
		}
		in := index(b)
		for i := 0; i < len(a.Content); i += 2 {
			j, ok := in[scalarID(a.Content[i])]
			if !ok || !equalNodes(a.Content[i+1], b.Content[2*j+1]) {
				return false
			}
		}
		return true
	}
	return false
}

// index gives the number of each key's entry; nil has none.
func index(mapping *yaml.Node) map[string]int {
	out := map[string]int{}
	if mapping != nil {
		for i := 0; i < len(mapping.Content); i += 2 {
			out[scalarID(mapping.Content[i])] = i / 2
		}
	}
	return out
}

// refers reports whether a node itself is an anchor, an alias or a mapping with
// a merge key: its meaning depends on another place, or another on it.
func refers(n *yaml.Node) bool {
	if n == nil {
		return false
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return true
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].ShortTag() == "!!merge" || refers(n.Content[i]) {
				return true
			}
		}
	}
	return false
}

// refersWithin is refers for a node and all below it.
func refersWithin(n *yaml.Node) bool {
	return refers(n) || n != nil && slices.ContainsFunc(n.Content, refersWithin)
}

// at returns the offset in a line (from 0) of a column (from 1, in characters),
// and false if the line is shorter.
func (f *yamlFile) at(line, column int) (int, bool) {
	if line < 0 || line >= len(f.lines) {
		return 0, false
	}
	if len(f.lines[line]) > longLine {
		columns := f.columnsOf(line)
		if column < 1 || column > len(columns) {
			return 0, false
		}
		return columns[column-1], true
	}
	for i := range f.lines[line] {
		if column--; column == 0 {
			return i, true
		}
	}
	return 0, false
}

// longLine is the length from which on it is remembered where the characters of a
// line begin.
const longLine = 1024

func (f *yamlFile) columnsOf(line int) []int {
	if columns, ok := f.columns[line]; ok {
		return columns
	}
	var columns []int
	for i := range f.lines[line] {
		columns = append(columns, i)
	}
	if f.columns == nil {
		f.columns = map[int][]int{}
	}
	f.columns[line] = columns
	return columns
}

// between is the text from an offset in one line to the beginning of another.
func (f *yamlFile) between(first, offset, last int) string {
	return strings.Join(f.lines[first:last], "")[offset:]
}

// scalar returns where a scalar stands in its line, if it does so within one
// line.
func (f *yamlFile) scalar(n *yaml.Node) (from, to int, ok bool) {
	from, ok = f.at(n.Line-1, n.Column)
	if !ok || n.Kind != yaml.ScalarNode || n.Anchor != "" || n.Value == "" && n.Style == 0 {
		return 0, 0, false
	}
	rest := f.lines[n.Line-1][from:]
	length := 0
	switch n.Style {
	case 0:
		if strings.HasPrefix(rest, n.Value) {
			length = len(n.Value)
		}
	case yaml.SingleQuotedStyle:
		for i := 1; i < len(rest) && rest[0] == '\''; i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				i++
				continue
			}
			length = i + 1
			break
		}
	case yaml.DoubleQuotedStyle:
		for i := 1; i < len(rest) && rest[0] == '"'; i++ {
			if rest[i] == '\\' {
				i++
			} else if rest[i] == '"' {
				length = i + 1
				break
			}
		}
	}
	base := f.starts[n.Line-1] + from
	return base, base + length, length > 0
}

// place is where an entry of a block mapping or an item of a block list stands.
type place struct {
	first, last int // lines [first,last); comments and empty lines after it do not count
	offset      int // of its key or dash in the first line
}

// places returns the entries of a block mapping or the items of a block list
// that ends before a line. False: one of them is not where it is expected.
func (f *yamlFile) places(n *yaml.Node, end int) ([]place, bool) {
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	}
	var out []place
	for i := 0; i < len(n.Content); i += step {
		p := place{first: n.Content[i].Line - 1, last: end}
		if i+step < len(n.Content) {
			p.last = n.Content[i+step].Line - 1
		}
		column := n.Column
		if step == 2 {
			column = n.Content[i].Column
		}
		var ok bool
		p.offset, ok = f.at(p.first, column)
		if !ok || p.last <= p.first || p.last > len(f.lines) || step == 1 && f.lines[p.first][p.offset] != '-' {
			return nil, false
		}
		for p.last > p.first+1 && f.apart(p.last-1, p.offset) {
			p.last--
		}
		out = append(out, p)
	}
	return out, true
}

// apart reports whether a line is empty, or a comment that is not indented more
// than the offset.
func (f *yamlFile) apart(line, offset int) bool {
	text := strings.TrimLeft(f.lines[line], " \t")
	indent := len(f.lines[line]) - len(text)
	return strings.TrimSpace(text) == "" || text[0] == '#' && indent <= offset
}

// alone reports whether nothing but space stands before an entry in its line.
func (f *yamlFile) alone(p place) bool {
	return strings.TrimSpace(f.lines[p.first][:p.offset]) == ""
}

// headComment returns the first of the comment lines directly above an entry
// that stand as far in as it does and that the other text does not have; the
// entry's own line if there are none.
func (f *yamlFile) headComment(p place, other *yamlFile) int {
	first := p.first
	for first > 0 && f.alone(p) {
		line := f.lines[first-1]
		text := strings.TrimLeft(line, " ")
		if len(line)-len(text) != p.offset || text[0] != '#' || other.has(line) {
			break
		}
		first--
	}
	return first
}

// lineRange returns the lines [from,to) that a node covers, about.
func lineRange(n *yaml.Node) (from, to int) {
	from, to = n.Line-1, n.Line
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		to += strings.Count(strings.TrimSuffix(n.Value, "\n"), "\n") + 1
	}
	for _, c := range n.Content {
		f, t := lineRange(c)
		from, to = min(from, f), max(to, t)
	}
	return from, to
}
