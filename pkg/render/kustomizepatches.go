package render

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// patchTarget is what a strategic merge patch is for, to find the patch when
// kustomize misses its target.
type patchTarget struct {
	file string
	line int
	kind string
	name string
}

// patch checks a patch of a file or in line; merges says that it is applied to
// the object it names.
func (w *walk) patch(k *kustomizationFile, fieldName, file, inline string, merges bool) error {
	where, line, content := k.file, k.line(fieldName, inline), []byte(inline)
	if file != "" {
		var err error
		if content, err = w.readBelow(k, fieldName, file); err != nil {
			return err
		}
		where, line = join(k.dir, file), 0
	}
	roots, err := parseYAML(content)
	if err != nil {
		if file == "" {
			return atf(k.file, line, "%s: %w", fieldName, errors.New(err.Error())) // its lines are not the file's
		}
		return at(where, 0, err)
	}
	if !merges {
		return nil
	}
	for _, root := range roots {
		if root.Kind == yaml.MappingNode {
			t := patchTarget{file: where, line: line, kind: scalar(root, "kind"), name: objectName(root)}
			if file != "" {
				t.line = root.Line
			}
			w.targets = append(w.targets, t)
		}
	}
	return nil
}

var (
	missingTarget = regexp.MustCompile(`no (?:resource )?matches (?:for Id|strategic merge patch) "?([A-Za-z0-9]+)[^/\s]*/([^\s"\[\];]+?)\.\[`)
	accumulation  = regexp.MustCompile(`(?:accumulating resources: )?accumulation err='[^']*(?:'[^']*'[^']*)*': `)
)

// locate puts an error of kustomize into the file that has to change.
func (w *walk) locate(err error) error {
	if w.tree.fault != nil {
		return w.tree.fault
	}
	message := err.Error()
	message = accumulation.ReplaceAllString(message, "")
	message = strings.Join(strings.Fields(strings.ToValidUTF8(message, "")), " ")
	if m := missingTarget.FindStringSubmatch(message); m != nil {
		for _, t := range w.targets {
			if t.kind == m[1] && t.name == m[2] {
				return atf(t.file, t.line, "patch for %s/%s: no such object", t.kind, t.name)
			}
		}
	}
	return at(w.file, 0, errors.New(message))
}
