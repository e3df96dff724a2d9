package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// renderDirectory prints the manifests of one folder like Argo CD's directory
// source: the files *.yaml, *.yml and *.json in it (not below it) in the order
// of their names. YAML that has nothing of an object in it is somebody's
// values or settings and is left out; a broken manifest is an error.
func renderDirectory(t *tree, dir string) ([]byte, error) {
	names, err := manifestFiles(t, dir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, name := range names {
		text, err := manifest(t, name)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			continue
		}
		switch head, _, _ := bytes.Cut(text, []byte("\n---")); {
		case out.Len() == 0 || bytes.HasPrefix(text, []byte("---")):
		case directives(head): // they may follow the end of a document only
			out.WriteString("...\n")
		default:
			out.WriteString("---\n")
		}
		out.Write(text)
		if text[len(text)-1] != '\n' {
			out.WriteByte('\n')
		}
		if out.Len() > maxOutput {
			return nil, fmt.Errorf("%s: more than %d bytes of manifests", dir, maxOutput)
		}
	}
	return out.Bytes(), nil
}

// manifestFiles lists the files of a folder that may hold manifests, as paths
// from the root.
func manifestFiles(t *tree, dir string) ([]string, error) {
	names, err := t.readDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		file := join(dir, name)
		if ext := path.Ext(name); (ext == ".yaml" || ext == ".yml" || ext == ".json") && file != config.File && t.isFile(file) {
			files = append(files, file)
		}
	}
	return files, nil
}

// skipMarker anywhere in a file tells Argo CD to leave it out.
const skipMarker = "+argocd:skip-file-rendering"

// manifest reads a file of objects; nil if it holds none.
func manifest(t *tree, file string) ([]byte, error) {
	text, err := t.readFile(file)
	if err != nil {
		return nil, at(file, 0, err)
	}
	text = bytes.TrimPrefix(text, bom)
	if bytes.Contains(text, []byte(skipMarker)) {
		return nil, nil
	}
	if path.Ext(file) == ".json" {
		return jsonManifest(file, text)
	}
	some, err := understood.objects(text)
	if err == nil {
		if !some {
			return nil, nil
		}
		return text, nil
	}
	if looksLikeManifest(text) || someObject(text) {
		return nil, at(file, 0, err)
	}
	return nil, nil
}

// looksLikeManifest is Argo CD's question to a file that does not parse.
func looksLikeManifest(text []byte) bool {
	return bytes.Contains(text, []byte("apiVersion:")) && bytes.Contains(text, []byte("kind:")) && bytes.Contains(text, []byte("metadata:"))
}

func someObject(text []byte) bool {
	roots, err := parseYAML(text)
	if err != nil {
		return false
	}
	for _, root := range roots {
		if isObject(root) {
			return true
		}
	}
	return false
}

// jsonManifest checks the one object of a JSON file. JSON is YAML but for
// surrogate pairs in escapes; such text is written anew.
func jsonManifest(file string, text []byte) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		var syntax *json.SyntaxError
		line := 0
		if errors.As(err, &syntax) {
			line = 1 + bytes.Count(text[:min(len(text), int(syntax.Offset))], []byte("\n"))
		}
		if strings.Contains(err.Error(), "after top-level value") {
			return nil, atf(file, line, "several objects in one JSON file; make it a List or use YAML")
		}
		return nil, atf(file, line, "invalid JSON: %w", err)
	}
	if object["apiVersion"] == nil || object["kind"] == nil {
		return nil, nil
	}
	if _, err := split(text); err == nil {
		return text, nil
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, at(file, 0, err)
	}
	var compact bytes.Buffer
	encoder := json.NewEncoder(&compact)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, at(file, 0, err)
	}
	if _, err := split(compact.Bytes()); err != nil {
		return nil, at(file, 0, err)
	}
	return compact.Bytes(), nil
}
