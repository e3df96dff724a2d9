package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxSize of a file in bytes. A pipeline of a hundred environments stays far
// below it.
const maxSize = 1 << 20

var (
	syntaxError   = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '([^']+)' referenced$`)
)

// document returns the root of the only YAML document in text, or nil after
// reporting why there is none.
func (r *report) document(text []byte) *yaml.Node {
	if len(text) > maxSize {
		r.add("", "the file has %d bytes; at most %d are read", len(text), maxSize)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.add("", "the file is empty; propagator init writes one to start from")
		return nil
	case err != nil:
		r.addSyntax(err, text)
		return nil
	}
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		r.add("", "the file is empty; propagator init writes one to start from")
		return nil
	}
	root := document.Content[0]
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
		return root
	case err != nil:
		r.addSyntax(err, text)
	default:
		r.addAt(position{second.Line, second.Column}, "", "a second document starts here; a pipeline is one document")
	}
	return nil
}

// addSyntax reports what the YAML parser refused.
func (r *report) addSyntax(err error, text []byte) {
	at := position{1, 1}
	message := err.Error()
	if m := syntaxError.FindStringSubmatch(message); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.line = max(1, line)
		}
		message = m[2]
	}
	lines := bytes.Split(text, []byte("\n"))
	if m := unknownAnchor.FindStringSubmatch(message); m != nil {
		// The one error for which the parser gives no line.
		at.line = 1 + max(0, slices.IndexFunc(lines, func(line []byte) bool {
			return bytes.Contains(line, []byte("*"+m[1]))
		}))
	}
	if at.line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[at.line-1], " "), []byte("\t")) {
		message += "; indent with blanks, YAML allows no tabs"
	}
	r.addAt(at, "", "not YAML: %s", message)
}
