package history

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// slot is a place in the manifests that holds one value.
type slot int

// The slots. The first two are in lines side by side.
const (
	keyA slot = iota
	keyB
	keyC // some lines below
	stageKey
	imageTag
	extraKey // in a file of its own, which need not be there
	slots
)

var slotNames = [slots]string{"a", "b", "c", "stage", "image", "extra"}

func (s slot) String() string { return slotNames[s] }

// values are what the slots of a tree hold; empty: there is no such file.
type values [slots]string

func (v values) String() string {
	var parts []string
	for s, value := range v {
		parts = append(parts, slot(s).String()+"="+value)
	}
	return strings.Join(parts, " ")
}

const (
	prodConfig  = "envs/prod/app/config.yaml"
	stageConfig = "envs/stage/app/config.yaml"
	extraConfig = "envs/prod/app/extra.yaml"
)

// files that a slot is in.
func (w *world) filesOf(s slot) []string {
	switch s {
	case stageKey:
		return []string{stageConfig}
	case extraKey:
		return []string{extraConfig}
	case imageTag:
		var files []string
		for _, env := range append([]string{"dev"}, w.envs...) {
			files = append(files, podFile(env))
		}
		return files
	}
	return []string{prodConfig}
}

func podFile(env string) string { return "envs/" + env + "/app/pod.yaml" }

// text of a file that holds the values.
func text(path string, v values) string {
	switch {
	case path == prodConfig:
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  a: " + v[keyA] + "\n  b: " + v[keyB] +
			"\n  one: \"1\"\n  two: \"2\"\n  three: \"3\"\n  four: \"4\"\n  c: " + v[keyC] + "\n"
	case path == stageConfig:
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  stage: " + v[stageKey] + "\n"
	case path == extraConfig:
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra\ndata:\n  extra: " + v[extraKey] + "\n"
	}
	return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n  - name: main\n    image: dev.example/shop/app:" + v[imageTag] + "\n"
}

// keys that begin the lines of slots.
var keys = [slots]string{"  a: ", "  b: ", "  c: ", "  stage: ", "    image: dev.example/shop/app:", "  extra: "}

// read finds out what a tree holds. Everything that was merged badly is an error:
// a file that is gone, a line that is there twice, environments that differ in
// their image.
func (w *world) read(tree gitrepo.Hash) (values, error) {
	if known, ok := w.known[tree]; ok {
		return known, nil
	}
	var v values
	for s := range slots {
		for i, path := range w.filesOf(s) {
			value, err := w.readFile(tree, path, keys[s])
			switch {
			case errors.Is(err, fs.ErrNotExist) && s == extraKey:
			case err != nil:
				return v, fmt.Errorf("%s in tree %s: %w", path, tree.Short(), err)
			case i > 0 && value != v[s]:
				return v, fmt.Errorf("%s in tree %s has %s, and the files before have %s", path, tree.Short(), value, v[s])
			}
			v[s] = value
		}
	}
	w.known[tree] = v
	return v, nil
}

func (w *world) readFile(tree gitrepo.Hash, path, key string) (string, error) {
	entry, err := gitrepo.Lookup(w.people, tree, path)
	if err != nil {
		return "", err
	}
	object, err := w.people.Object(entry.ID)
	if err != nil {
		return "", err
	}
	value := ""
	for line := range strings.Lines(string(object.Data)) {
		rest, found := strings.CutPrefix(line, key)
		if !found {
			continue
		}
		if value != "" {
			return "", fmt.Errorf("%q is there twice", key)
		}
		value = strings.TrimSpace(rest)
	}
	if value == "" {
		return "", fmt.Errorf("there is no line %q", key)
	}
	return value, nil
}

// write makes the tree that a tree becomes with some slots changed.
func (w *world) write(tree gitrepo.Hash, old values, change map[slot]string) (gitrepo.Hash, []gitrepo.Object, error) {
	v := old
	for s, value := range change {
		v[s] = value
	}
	content := map[string][]byte{}
	for s := range change {
		if s == extraKey && v[s] == "" {
			continue
		}
		for _, path := range w.filesOf(s) {
			content[path] = []byte(text(path, v))
		}
	}
	root, objects, err := gitrepo.WriteFiles(w.people, tree, content)
	if value, touched := change[extraKey]; err != nil || !touched || value != "" || old[extraKey] == "" {
		return root, objects, err
	}
	root, more, err := without(gitrepo.With(w.people, objects...), root, strings.Split(extraConfig, "/"))
	return root, append(objects, more...), err
}

// without takes a file out of a tree.
func without(r gitrepo.Objects, tree gitrepo.Hash, path []string) (gitrepo.Hash, []gitrepo.Object, error) {
	entries, err := gitrepo.ReadTree(r, tree)
	if err != nil {
		return "", nil, err
	}
	var left gitrepo.Tree
	var objects []gitrepo.Object
	for _, entry := range entries {
		if entry.Name == path[0] {
			if len(path) == 1 {
				continue
			}
			if entry.ID, objects, err = without(r, entry.ID, path[1:]); err != nil {
				return "", nil, err
			}
		}
		left = append(left, entry)
	}
	object, err := gitrepo.NewTree(left)
	return object.ID(), append(objects, object), err
}
