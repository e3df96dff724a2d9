package render

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// maxKustomizations bounds how many kustomizations one application reaches.
const maxKustomizations = 5_000

// walk goes through everything a kustomization reaches before kustomize runs.
// It finds what is wrong while the file and line are still known, refuses what
// would need the network or another program, and renders local charts.
type walk struct {
	tree         *tree
	capabilities *config.Capabilities

	file      string // the application's own kustomization
	visited   map[visit]bool
	stack     map[string]bool
	dependent bool
	ownSchema bool
	targets   []patchTarget
	// generated files take their place in the tree after the walk, which reads
	// what people wrote.
	generated map[string][]byte
}

// visit is a kustomization as one parent sees it.
type visit struct {
	dir string
	// namespace of the nearest parent that sets one: charts of this
	// kustomization are released into it, as kustomize has it.
	namespace string
	// component: it is named under components.
	component bool
	// plugins: it holds configurations of generators or transformers.
	plugins bool
}

// kustomizationFile is one kustomization with what is needed to point into it.
type kustomizationFile struct {
	types.Kustomization
	dir, file string // without symlinks, like kustomize's
	text      []byte
	root      *yaml.Node
}

// line of an entry below a field; of the field if the entry is not found.
func (k *kustomizationFile) line(fieldName, entry string) int {
	for i := 0; i+1 < len(k.root.Content); i += 2 {
		if strings.EqualFold(k.root.Content[i].Value, fieldName) {
			if line := scalarLine(k.root.Content[i+1], entry); line > 0 {
				return line
			}
			return k.root.Content[i].Line
		}
	}
	return scalarLine(k.root, entry) // old names: bases for resources
}

func scalarLine(n *yaml.Node, value string) int {
	if n.Kind == yaml.ScalarNode && (n.Value == value || strings.HasSuffix(n.Value, "="+value)) {
		return n.Line
	}
	for _, child := range n.Content {
		if line := scalarLine(child, value); line > 0 {
			return line
		}
	}
	return 0
}

func (k *kustomizationFile) fault(fieldName, entry, format string, args ...any) error {
	return atf(k.file, k.line(fieldName, entry), "%s: %w", fieldName, fmt.Errorf(format, args...))
}

// load reads the kustomization of a folder.
func (w *walk) load(dir string) (*kustomizationFile, error) {
	real, info, err := w.tree.resolve(dir)
	if err != nil || !info.IsDir() {
		return nil, atf(dir, 0, "no such folder")
	}
	k := &kustomizationFile{dir: real}
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		file := join(real, name)
		if !w.tree.isFile(file) {
			continue
		}
		if k.file != "" {
			return nil, atf(file, 0, "%s is a kustomization of the same folder; keep one", k.file)
		}
		k.file = file
	}
	if k.file == "" {
		return nil, atf(dir, 0, "no kustomization.yaml in this folder")
	}
	if k.text, err = w.tree.readFile(k.file); err != nil {
		return nil, at(k.file, 0, err)
	}
	roots, err := parseYAML(k.text)
	if err != nil {
		return nil, at(k.file, 0, err)
	}
	if len(roots) != 1 || roots[0].Kind != yaml.MappingNode {
		return nil, atf(k.file, 0, "not a kustomization: %d documents", len(roots))
	}
	k.root = roots[0]
	if err := k.Unmarshal(k.text); err != nil {
		return nil, atf(k.file, unknownField(k.root, err), "%s", strings.TrimPrefix(err.Error(), "invalid Kustomization: "))
	}
	k.FixKustomization()
	if faults := k.EnforceFields(); len(faults) > 0 {
		return nil, atf(k.file, keyLine(k.root, "kind"), "%s", strings.Join(faults, "; "))
	}
	return k, nil
}

var unknownFieldMessage = regexp.MustCompile(`unknown field "([^"]+)"`)

func unknownField(root *yaml.Node, err error) int {
	m := unknownFieldMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	return keyAnywhere(root, m[1])
}

func keyAnywhere(n *yaml.Node, key string) int {
	if line := keyLine(n, key); line > 0 {
		return line
	}
	for _, child := range n.Content {
		if line := keyAnywhere(child, key); line > 0 {
			return line
		}
	}
	return 0
}

// kustomization visits dir, seen from a parent.
func (w *walk) kustomization(dir string, from visit) error {
	k, err := w.load(dir)
	if err != nil {
		return err
	}
	if w.stack[k.dir] {
		return atf(k.file, 0, "the kustomization reaches itself")
	}
	from.dir = k.dir
	if w.visited[from] {
		return nil
	}
	if len(w.visited) > maxKustomizations {
		return atf(dir, 0, "more than %d kustomizations", maxKustomizations)
	}
	w.visited[from] = true
	if w.file == "" {
		w.file = k.file
	}
	switch isComponent := k.Kind == types.ComponentKind; {
	case from.component && !isComponent:
		return atf(k.file, keyLine(k.root, "kind"), "kind is %s, but it is used as a component", k.Kind)
	case !from.component && isComponent:
		return atf(k.file, keyLine(k.root, "kind"), "kind is Component, but it is used as a resource; list it under components")
	}
	w.stack[k.dir] = true
	defer delete(w.stack, k.dir)
	if from.plugins {
		if err := onlyResources(k); err != nil {
			return err
		}
	}
	if len(k.OpenAPI) > 0 {
		w.ownSchema = true
	}
	below := visit{namespace: from.namespace, plugins: from.plugins}
	if k.Namespace != "" {
		below.namespace = k.Namespace
	}
	if err := w.parts(k, below); err != nil {
		return err
	}
	if len(k.HelmCharts) > 0 {
		return w.inflate(k, from.namespace)
	}
	return nil
}

// parts visits what a kustomization refers to.
func (w *walk) parts(k *kustomizationFile, below visit) error {
	for _, entry := range k.Resources {
		if err := w.resource(k, "resources", entry, below); err != nil {
			return err
		}
	}
	component := below
	component.component = true
	for _, entry := range k.Components {
		if err := w.folder(k, "components", entry, component); err != nil {
			return err
		}
	}
	plugins := visit{namespace: below.namespace, plugins: true}
	for fieldName, entries := range map[string][]string{"generators": k.Generators, "transformers": k.Transformers, "validators": k.Validators} {
		for _, entry := range entries {
			if inline, err := parseYAML([]byte(entry)); err == nil && len(inline) > 0 && inline[0].Kind == yaml.MappingNode {
				if err := w.pluginsIn(k.file, k.line(fieldName, entry), inline); err != nil {
					return err
				}
				continue
			}
			if err := w.resource(k, fieldName, entry, plugins); err != nil {
				return err
			}
		}
	}
	return w.files(k)
}

// resource visits a file of objects or another kustomization.
func (w *walk) resource(k *kustomizationFile, fieldName, entry string, below visit) error {
	file := join(k.dir, entry)
	if !outside(file) && w.tree.isFile(file) && !isURL(entry) {
		content, err := w.readBelow(k, fieldName, entry)
		if err != nil {
			return err
		}
		roots, err := parseYAML(content)
		if err != nil {
			return at(file, 0, err)
		}
		if below.plugins {
			return w.pluginsIn(file, 0, roots)
		}
		for _, root := range roots {
			if empty := root.Kind == yaml.MappingNode && len(root.Content) == 0; !empty && !isObject(root) {
				return atf(file, root.Line, "not an object with apiVersion and kind")
			}
		}
		return nil
	}
	return w.folder(k, fieldName, entry, below)
}

func (w *walk) folder(k *kustomizationFile, fieldName, entry string, below visit) error {
	dir := join(k.dir, entry)
	switch {
	case isURL(entry) || isRepository(entry) || meantRemote(entry) && (outside(dir) || !w.tree.isDir(dir)):
		return k.remote(fieldName, entry)
	case entry == "":
		return k.fault(fieldName, entry, "an entry is empty")
	case outside(dir):
		return k.fault(fieldName, entry, "%s %w", entry, errOutside)
	case !w.tree.isDir(dir):
		return k.fault(fieldName, entry, "no file or folder %s", dir)
	}
	return w.kustomization(dir, below)
}

func (k *kustomizationFile) remote(fieldName, entry string) error {
	return k.fault(fieldName, entry, "%s is not in the repository; copy it in (vendor it) and refer to the copy, because rendering uses no network", redacted(entry))
}

// files checks the single files a kustomization names.
func (w *walk) files(k *kustomizationFile) error {
	check := func(fieldName string, entries ...string) error {
		for _, entry := range entries {
			if _, err := w.readBelow(k, fieldName, entry); err != nil {
				return err
			}
		}
		return nil
	}
	if err := check("crds", k.Crds...); err != nil {
		return err
	}
	if err := check("configurations", k.Configurations...); err != nil {
		return err
	}
	if file, ok := k.OpenAPI["path"]; ok {
		if err := check("openapi", file); err != nil {
			return err
		}
	}
	for _, r := range k.Replacements {
		if r.Path != "" {
			if err := check("replacements", r.Path); err != nil {
				return err
			}
		}
	}
	for _, p := range k.Patches {
		if err := w.patch(k, "patches", p.Path, p.Patch, p.Target == nil); err != nil {
			return err
		}
	}
	for _, p := range k.PatchesJson6902 { //nolint:staticcheck // deprecated, and in use
		if err := w.patch(k, "patchesJson6902", p.Path, p.Patch, false); err != nil {
			return err
		}
	}
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // deprecated, and in use
		file, inline := string(p), ""
		if roots, err := parseYAML([]byte(p)); err == nil && len(roots) > 0 && roots[0].Kind == yaml.MappingNode {
			file, inline = "", file
		}
		if err := w.patch(k, "patchesStrategicMerge", file, inline, true); err != nil {
			return err
		}
	}
	for _, g := range k.ConfigMapGenerator {
		if err := w.sources(k, "configMapGenerator", g.KvPairSources); err != nil {
			return err
		}
	}
	for _, g := range k.SecretGenerator {
		if err := w.sources(k, "secretGenerator", g.KvPairSources); err != nil {
			return err
		}
	}
	return nil
}

// sources are files of generators, written as path or key=path.
func (w *walk) sources(k *kustomizationFile, fieldName string, s types.KvPairSources) error {
	for _, entry := range s.FileSources {
		if _, file, found := strings.Cut(entry, "="); found {
			entry = file
		}
		if _, err := w.readBelow(k, fieldName, entry); err != nil {
			return err
		}
	}
	for _, entry := range append(s.EnvSources, s.EnvSource) {
		if entry == "" {
			continue
		}
		if _, err := w.readBelow(k, fieldName, entry); err != nil {
			return err
		}
	}
	return nil
}

// readBelow reads a file that must lie in or below the kustomization's folder,
// which is what kustomize build allows by default.
func (w *walk) readBelow(k *kustomizationFile, fieldName, entry string) ([]byte, error) {
	file := join(k.dir, entry)
	if isURL(entry) || meantRemote(entry) && (outside(file) || !w.tree.isFile(file)) {
		return nil, k.remote(fieldName, entry)
	}
	if outside(file) {
		return nil, k.fault(fieldName, entry, "%s %w", entry, errOutside)
	}
	real, info, err := w.tree.resolve(file)
	switch {
	case err != nil && absent(err):
		return nil, k.fault(fieldName, entry, "no file %s", file)
	case err != nil:
		return nil, at(file, 0, err)
	case info.IsDir():
		return nil, k.fault(fieldName, entry, "%s is a folder; a file is wanted", file)
	case k.dir != "." && !strings.HasPrefix(path.Dir(real)+"/", k.dir+"/"):
		return nil, k.fault(fieldName, entry, "%s is not below %s; kustomize reads single files only from the kustomization's own folder (make it a base or component, or copy it)", real, k.dir)
	}
	content, err := w.tree.readFile(file)
	return content, at(file, 0, err)
}
