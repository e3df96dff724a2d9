package render

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// maxFolders bounds how many folders Discover looks into.
const maxFolders = 10_000

// Discover lists the applications of an environment, sorted by name, with
// Name, Path, Renderer and ReleaseName filled in. Explicit ones win; otherwise
// the environment's path itself if it can be rendered, else every directory
// directly or indirectly below it that can be (without descending into one).
// An environment without any is an error.
//
// A folder can be rendered if it has a kustomization (of kind Kustomization:
// components are parts of applications), else a Chart.yaml (of an application:
// library charts are parts too), else a file with Kubernetes objects. Folders
// whose name starts with a dot are ignored.
func Discover(fsys fs.FS, environment config.Environment) ([]config.Application, error) {
	d := discovery{tree: newTree(fsys, nil), above: map[string]bool{}}
	applications, err := d.applications(environment)
	if d.tree.fault != nil {
		err = d.tree.fault
	}
	if err != nil {
		return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
	}
	slices.SortFunc(applications, func(a, b config.Application) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(applications); i++ {
		if a, b := applications[i-1], applications[i]; a.Name == b.Name {
			return nil, fmt.Errorf("environment %s: %s and %s are both named %s; list them under applications with names of their own", environment.Name, a.Path, b.Path, a.Name)
		}
	}
	return applications, nil
}

type discovery struct {
	tree    *tree
	above   map[string]bool // real paths of the folders around the current one
	folders int
	found   []config.Application
}

func (d *discovery) applications(environment config.Environment) ([]config.Application, error) {
	if len(environment.Applications) > 0 {
		for _, a := range environment.Applications {
			a, err := d.explicit(a)
			if err != nil {
				return nil, err
			}
			d.found = append(d.found, a)
		}
		return d.found, nil
	}
	if !d.tree.isDir(environment.Path) {
		return nil, fmt.Errorf("no folder %s in the repository", environment.Path)
	}
	if err := d.folder(environment.Path); err != nil {
		return nil, err
	}
	if len(d.found) == 0 {
		return nil, fmt.Errorf("nothing to render in %s: no kustomization, Chart.yaml or Kubernetes objects", environment.Path)
	}
	return d.found, nil
}

func (d *discovery) explicit(a config.Application) (config.Application, error) {
	a.Name = cmp.Or(a.Name, path.Base(a.Path))
	if !d.tree.isDir(a.Path) {
		return a, fmt.Errorf("application %s: no folder %s in the repository", a.Name, a.Path)
	}
	k, err := d.look(a.Path)
	if err != nil {
		return a, fmt.Errorf("application %s: %w", a.Name, err)
	}
	if a.Renderer == "" {
		if a.Renderer = k.renderer; a.Renderer == "" {
			return a, fmt.Errorf("application %s: nothing to render in %s: no kustomization, Chart.yaml or Kubernetes objects", a.Name, a.Path)
		}
	}
	if a.Renderer == config.RendererHelm && !d.tree.isFile(join(a.Path, "Chart.yaml")) {
		return a, fmt.Errorf("application %s: renderer helm, but no Chart.yaml in %s", a.Name, a.Path)
	}
	if a.Renderer == config.RendererKustomize && k.renderer != config.RendererKustomize {
		return a, fmt.Errorf("application %s: renderer kustomize, but no kustomization.yaml of kind Kustomization in %s", a.Name, a.Path)
	}
	a.ReleaseName = cmp.Or(a.ReleaseName, a.Name)
	return a, nil
}

// folder takes dir as an application or looks below it.
func (d *discovery) folder(dir string) error {
	if d.folders++; d.folders > maxFolders {
		return fmt.Errorf("more than %d folders; list the applications", maxFolders)
	}
	k, err := d.look(dir)
	if err != nil {
		return err
	}
	if k.renderer != "" {
		name := path.Base(dir)
		d.found = append(d.found, config.Application{Name: name, Path: dir, Renderer: k.renderer, ReleaseName: name})
	}
	if k.whole {
		return nil
	}
	real, _, err := d.tree.resolve(dir)
	if err != nil {
		return err
	}
	if d.above[real] {
		return nil // a symlink to a folder around it
	}
	d.above[real] = true
	defer delete(d.above, real)
	names, err := d.tree.readDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := join(dir, name)
		if strings.HasPrefix(name, ".") || !d.tree.isDir(below) {
			continue
		}
		if err := d.folder(below); err != nil {
			return err
		}
	}
	return nil
}

// kindOfFolder says how a folder is rendered ("": not by itself) and whether
// everything below belongs to it.
type kindOfFolder struct {
	renderer string
	whole    bool
}

func (d *discovery) look(dir string) (kindOfFolder, error) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if !d.tree.isFile(join(dir, name)) {
			continue
		}
		if d.has(join(dir, name), "kind", types.ComponentKind) {
			return kindOfFolder{whole: true}, nil
		}
		return kindOfFolder{renderer: config.RendererKustomize, whole: true}, nil
	}
	if chart := join(dir, "Chart.yaml"); d.tree.isFile(chart) {
		if d.has(chart, "type", "library") {
			return kindOfFolder{whole: true}, nil
		}
		return kindOfFolder{renderer: config.RendererHelm, whole: true}, nil
	}
	files, err := manifestFiles(d.tree, dir)
	if err != nil {
		return kindOfFolder{}, err
	}
	for _, file := range files {
		// A broken file still makes the folder an application: rendering it
		// then says what is wrong, instead of the application being gone.
		content, err := manifest(d.tree, file)
		var broken *place
		if len(content) > 0 || path.Ext(file) != ".json" && errors.As(err, &broken) {
			return kindOfFolder{renderer: config.RendererYAML, whole: true}, nil
		}
	}
	return kindOfFolder{}, nil
}

// has reports whether a field of a YAML file has a value. A file that cannot
// be parsed has none; rendering reports it.
func (d *discovery) has(file, key, want string) bool {
	content, err := d.tree.readFile(file)
	if err != nil {
		return false
	}
	roots, err := parseYAML(content)
	return err == nil && len(roots) == 1 && roots[0].Kind == yaml.MappingNode && scalar(roots[0], key) == want
}
