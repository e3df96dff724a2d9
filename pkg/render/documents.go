package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// document is one object of a text.
type document struct {
	start, end int // bytes of the text, without the separators
	line       int // of the text's first line within the whole, from 1
	root       *yaml.Node
}

// Documents splits YAML text into its documents, leaving out those without an
// object (empty, null, comments only).
//
// A document is everything between two separators as it is written, comments
// included; a List stays one document. A document that is no object with
// apiVersion and kind is an error that names its line, and so is YAML that
// readers understand in different ways.
func Documents(text []byte) ([]string, error) {
	documents, err := split(text)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(documents))
	for i, d := range documents {
		texts[i] = string(text[d.start:d.end])
	}
	return texts, nil
}

// split finds the documents. Only a line that starts with "---" or "..." in
// its first column separates: inside block and quoted scalars YAML itself
// forbids such lines. A line that merely begins with these characters would be
// a separator for other readers of the text (Kubernetes' own among them) and
// not for YAML, so it is refused rather than understood in two ways.
func split(text []byte) ([]document, error) {
	var documents []document
	start, startLine, line := 0, 1, 0
	flush := func(end int) error {
		d := document{start: start, end: end, line: startLine}
		object, err := d.parse(text)
		if err == nil && object {
			documents = append(documents, d)
		}
		return err
	}
	for offset := 0; offset < len(text); {
		line++
		next := len(text)
		if i := bytes.IndexByte(text[offset:], '\n'); i >= 0 {
			next = offset + i + 1
		}
		current := text[offset:next]
		if offset == 0 {
			current = bytes.TrimPrefix(current, bom)
		}
		marker, separates := separator(current)
		switch {
		case marker && !separates:
			return nil, &syntaxError{line: line, msg: fmt.Sprintf("line %d: text directly after a document separator; put it on the next line", line)}
		case separates && current[0] == '-' && directives(text[start:offset]):
			// %YAML and %TAG lines belong to the document below the separator.
		case separates:
			if err := flush(offset); err != nil {
				return nil, err
			}
			start, startLine = next, line+1
			if rest := bytes.TrimSpace(current[3:]); current[0] == '-' && len(rest) > 0 {
				start, startLine = next-len(current)+3, line
			}
		}
		offset = next
	}
	if err := flush(len(text)); err != nil {
		return nil, err
	}
	return documents, nil
}

// separator reports whether a line begins with the characters of a document
// separator and whether it is one.
func separator(line []byte) (marker, separates bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false, false
	}
	if len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0 {
		return true, true
	}
	return line[0] == '-', false
}

// directives reports whether text has a directive and otherwise only comments
// and empty lines.
func directives(text []byte) bool {
	some := false
	for line := range bytes.Lines(bytes.TrimPrefix(text, bom)) {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0 || line[0] == '#':
		case line[0] == '%':
			some = true
		default:
			return false
		}
	}
	return some
}

// blank reports whether text is comments and empty lines only.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// parse reads the document's object; false means that there is none.
func (d *document) parse(whole []byte) (object bool, err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some broken inputs
			object, err = false, &syntaxError{line: d.line, msg: fmt.Sprintf("line %d: invalid YAML: %v", d.line, p)}
		}
	}()
	if bytes.HasPrefix(whole[d.start:d.end], bom) {
		d.start += len(bom)
	}
	text := whole[d.start:d.end]
	if blank(text) {
		return false, nil
	}
	fault := func(e *syntaxError) error {
		if e.line == 0 {
			e.line = d.line
		}
		e.msg = fmt.Sprintf("line %d: %s", e.line, e.msg)
		return e
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, fault(asSyntax(err, d.line-1))
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return false, fault(asSyntax(err, d.line-1))
		}
		return false, fault(&syntaxError{line: d.line, msg: "a document separator after a line break other than LF"})
	}
	if len(doc.Content) != 1 {
		return false, nil
	}
	d.root = doc.Content[0]
	if err := bounded(d.root, true); err != nil {
		var e *syntaxError
		if errors.As(err, &e) {
			return false, fault(&syntaxError{line: e.line + d.line - 1, msg: e.msg})
		}
		return false, err
	}
	if d.root.Kind == yaml.ScalarNode && d.root.ShortTag() == "!!null" {
		return false, nil
	}
	if !isObject(d.root) {
		return false, fault(&syntaxError{line: d.root.Line + d.line - 1, msg: "not an object with apiVersion and kind"})
	}
	return true, nil
}
