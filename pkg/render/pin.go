package render

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Pin returns the output with every image reference replaced by what replace
// returns for it; all other bytes stay. An error of replace is wrapped with
// the object that holds the reference.
//
// The new reference takes the place of the old one in the text, in the same
// quotes. Where that is not possible (the reference comes from an anchor, is a
// block scalar, has a tag) that one document is written anew, with its aliases
// expanded. Either way the result is parsed again and compared: Pin returns
// text in which exactly the references differ, or an error.
func (o *Output) Pin(replace func(reference string) (string, error)) ([]byte, error) {
	var pinned bytes.Buffer
	copied := 0
	for _, d := range o.documents {
		references, err := d.references(o.images)
		if err != nil {
			return nil, err
		}
		changes := map[*yaml.Node]string{}
		shared := false
		for _, r := range references {
			to, err := replace(r.node.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.object, err)
			}
			if to != r.node.Value {
				changes[r.node] = to
				shared = shared || r.shared || r.node.Anchor != ""
			}
		}
		if len(changes) == 0 {
			continue
		}
		text, err := d.rewrite(o.YAML[d.start:d.end], changes, shared)
		if err != nil {
			return nil, err
		}
		pinned.Write(o.YAML[copied:d.start])
		pinned.Write(text)
		copied = d.end
	}
	pinned.Write(o.YAML[copied:])
	return pinned.Bytes(), nil
}

// rewrite changes scalars of a document's text.
func (d *document) rewrite(text []byte, changes map[*yaml.Node]string, shared bool) ([]byte, error) {
	want := expand(d.root, changes)
	if !shared {
		if spliced, ok := splice(text, changes); ok && parsesTo(spliced, want) {
			return spliced, nil
		}
	}
	encoded, err := encode(want)
	if err != nil {
		return nil, err
	}
	if len(text) > 0 && text[0] != '\n' && d.root.Line == 1 && bytes.HasPrefix(text, []byte(" ")) {
		// The object stood on the line of its separator.
		encoded = append([]byte("\n"), encoded...)
	}
	if !parsesTo(encoded, want) {
		return nil, fmt.Errorf("%s/%s: the document cannot be written with other images; remove anchors and tags from it", field(d.root, "kind").Value, objectName(d.root))
	}
	return encoded, nil
}

func encode(root *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parsesTo reports whether text is one document that holds the data of want.
func parsesTo(text []byte, want *yaml.Node) bool {
	documents, err := split(text)
	return err == nil && len(documents) == 1 && equal(expand(documents[0].root, nil), want)
}

type edit struct {
	start, end int
	text       string
}

// splice replaces scalars where they stand; false if one cannot be found as a
// plain or quoted scalar of one line.
func splice(text []byte, changes map[*yaml.Node]string) ([]byte, bool) {
	lines := lineStarts(text)
	edits := make([]edit, 0, len(changes))
	for node, to := range changes {
		start, ok := offsetOf(text, lines, node)
		if !ok {
			return nil, false
		}
		e, ok := editScalar(text, start, node, to)
		if !ok {
			return nil, false
		}
		edits = append(edits, e)
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	var b bytes.Buffer
	copied := 0
	for _, e := range edits {
		if e.start < copied {
			return nil, false
		}
		b.Write(text[copied:e.start])
		b.WriteString(e.text)
		copied = e.end
	}
	b.Write(text[copied:])
	return b.Bytes(), true
}

// lineStarts gives the offset of each line as the YAML library counts them: CR
// and the Unicode separators break lines too.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n', c == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			starts = append(starts, i+1)
		case c == 0xC2 && i+1 < len(text) && text[i+1] == 0x85:
			starts = append(starts, i+2)
		case c == 0xE2 && i+2 < len(text) && text[i+1] == 0x80 && (text[i+2] == 0xA8 || text[i+2] == 0xA9):
			starts = append(starts, i+3)
		}
	}
	return starts
}

// offsetOf is the byte at which a node starts; columns count characters.
func offsetOf(text []byte, lines []int, n *yaml.Node) (int, bool) {
	if n.Line < 1 || n.Line > len(lines) {
		return 0, false
	}
	start := lines[n.Line-1]
	column := 0
	for i := range string(text[start:min(len(text), start+4*n.Column)]) {
		if column++; column == n.Column {
			return start + i, true
		}
	}
	return 0, false
}

// editScalar keeps the quotes of the scalar at start.
func editScalar(text []byte, start int, n *yaml.Node, to string) (edit, bool) {
	rest := text[start:]
	switch n.Style {
	case 0:
		if !bytes.HasPrefix(rest, []byte(n.Value)) {
			return edit{}, false
		}
		if !plainSafe(to) {
			to = quoted(to)
		}
		return edit{start, start + len(n.Value), to}, true
	case yaml.SingleQuotedStyle:
		old := "'" + strings.ReplaceAll(n.Value, "'", "''") + "'"
		if !bytes.HasPrefix(rest, []byte(old)) {
			return edit{}, false
		}
		return edit{start, start + len(old), "'" + strings.ReplaceAll(to, "'", "''") + "'"}, true
	case yaml.DoubleQuotedStyle:
		end := closingQuote(rest)
		if end < 0 {
			return edit{}, false
		}
		return edit{start, start + end, quoted(to)}, true
	}
	return edit{}, false
}

// closingQuote is the length of the double-quoted scalar that text starts
// with, -1 if there is none on this line.
func closingQuote(text []byte) int {
	if len(text) == 0 || text[0] != '"' {
		return -1
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		case '\n', '\r':
			return -1
		}
	}
	return -1
}

// plainSafe: the text needs no quotes in any YAML context or version. Image
// references are such text.
func plainSafe(s string) bool {
	letter := false
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letter = true
		case c >= '0' && c <= '9' || c == '_' || c == '/':
		case i > 0 && i < len(s)-1 && (c == '.' || c == '-' || c == '+' || c == ':' || c == '@'):
		default:
			return false
		}
	}
	var n yaml.Node
	return letter && yaml.Unmarshal([]byte(s), &n) == nil && len(n.Content) == 1 &&
		n.Content[0].Kind == yaml.ScalarNode && n.Content[0].ShortTag() == "!!str" && n.Content[0].Value == s
}

// quoted is a double-quoted scalar; what it cannot hold plainly is left to the
// comparison with the wanted data, which then fails.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
