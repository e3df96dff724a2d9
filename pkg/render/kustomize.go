package render

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// kustomizeSchema guards the OpenAPI schema that kustomize keeps in package
// variables. A kustomization with a schema of its own changes them for the
// whole process and leaves its definitions behind, so it runs alone and resets
// them; all others share the built-in schema and run together.
var kustomizeSchema sync.RWMutex

// renderKustomize prints what kustomize build prints with its default options.
func renderKustomize(t *tree, in Input) (text []byte, dependent bool, err error) {
	w := &walk{tree: t, capabilities: in.Capabilities, visited: map[visit]bool{}, stack: map[string]bool{}, generated: map[string][]byte{}}
	if err := w.kustomization(in.Application.Path, visit{}); err != nil {
		return nil, false, err
	}
	for name, content := range w.generated {
		t.put(name, content)
	}
	text, err = w.build(in.Application.Path)
	return text, w.dependent, err
}

func (w *walk) build(dir string) ([]byte, error) {
	if w.ownSchema {
		kustomizeSchema.Lock()
		openapi.ResetOpenAPI()
		defer func() {
			openapi.ResetOpenAPI()
			kustomizeSchema.Unlock()
		}()
	} else {
		defer sharedSchema()()
	}
	options := krusty.MakeDefaultOptions()
	// The command sorts by kind unless the kustomization has sortOptions.
	options.Reorder = krusty.ReorderOptionUnspecified
	resources, err := krusty.MakeKustomizer(options).Run(newKustomizeFS(w.tree), "/"+dir)
	if err != nil {
		return nil, w.locate(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		return nil, at(w.file, 0, err)
	}
	return text, nil
}

// sharedSchema makes the built-in schema ready and keeps it until the function
// it returns is called. kustomize reads parts of it without its lock while it
// may still be loading in another goroutine, so it is loaded first.
func sharedSchema() (release func()) {
	kustomizeSchema.RLock()
	openapi.Schema()
	return kustomizeSchema.RUnlock
}

// kustomizeFS shows a tree to kustomize, with the repository at "/". Only what
// a build uses is served from the tree: finding and reading files. The rest is
// an empty file system in memory, so nothing can be written anywhere else.
type kustomizeFS struct {
	filesys.FileSystem
	tree *tree
}

func newKustomizeFS(t *tree) filesys.FileSystem {
	return kustomizeFS{FileSystem: filesys.MakeFsInMemory(), tree: t}
}

func inTree(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

func (k kustomizeFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	real, info, err := k.tree.resolve(inTree(name))
	if err != nil {
		return "", "", err
	}
	real = path.Join("/", real)
	if info.IsDir() {
		return filesys.ConfirmedDir(real), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(real)), path.Base(real), nil
}

func (k kustomizeFS) Exists(name string) bool {
	_, err := k.tree.stat(inTree(name))
	return err == nil
}

func (k kustomizeFS) IsDir(name string) bool { return k.tree.isDir(inTree(name)) }

func (k kustomizeFS) ReadDir(name string) ([]string, error) { return k.tree.readDir(inTree(name)) }

func (k kustomizeFS) ReadFile(name string) ([]byte, error) {
	data, err := k.tree.readFile(inTree(name))
	if err != nil {
		return nil, err
	}
	// kustomize writes aliases out before it does anything else; a file whose
	// aliases would fill the memory must not get that far. What is no YAML is
	// data, and no business of ours.
	if bytes.IndexByte(data, '&') >= 0 && bytes.IndexByte(data, '*') >= 0 {
		if err := tooLarge(data); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			k.tree.fail(err)
			return nil, err
		}
	}
	return data, nil
}

// tooLarge is the error of YAML beyond the bounds; nil for anything else.
func tooLarge(data []byte) error {
	_, err := parseYAML(data)
	var e *syntaxError
	if errors.As(err, &e) && strings.HasPrefix(e.msg, "YAML ") {
		return err
	}
	return nil
}
