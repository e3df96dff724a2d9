package render

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/kustomize/kyaml/yaml/merge2"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// inflated is the folder of generated files beside a kustomization.
const inflated = ".propagator-helm"

// inflate renders the helmCharts of a kustomization and puts their objects in
// the place of the entries, so that kustomize never looks for a helm program.
//
// The objects come in as a generated component listed before the
// kustomization's own components: kustomize runs generators, then components,
// then transformers, so patches, images, labels and the rest apply as they do
// to generated charts, and the order is the same too. Two things differ from
// kustomize build --enable-helm: objects of the kustomization's generators
// list come before charts instead of after them, which shows only with
// sortOptions fifo; and annotations asked for with buildMetadata name the
// component as the origin.
//
// The fields of an entry mean what they mean to kustomize, except that nothing
// is fetched (repo: the chart must already be in chartHome, either in
// <name>-<version>/<name> or in <name>), that releaseName is needed (without
// it Helm makes up another name each time), and that a version which the local
// chart does not have is an error.
func (w *walk) inflate(k *kustomizationFile, inherited string) error {
	namespace := cmp.Or(k.Namespace, inherited)
	folder := join(k.dir, inflated)
	generated := map[string][]byte{}
	var names []string
	for i, entry := range k.HelmCharts {
		objects, err := w.chart(k, entry, namespace)
		if err != nil {
			return err
		}
		if len(objects) > 0 {
			name := fmt.Sprintf("chart-%d.yaml", i)
			generated[join(folder, name)] = objects
			names = append(names, name)
		}
	}
	listing, err := json.Marshal(map[string]any{"apiVersion": types.ComponentVersion, "kind": types.ComponentKind, "resources": names})
	if err != nil {
		return at(k.file, 0, err)
	}
	generated[join(folder, konfig.DefaultKustomizationFileName())] = listing
	rewritten, err := withoutCharts(k.text, len(names) > 0)
	if err != nil {
		return at(k.file, 0, err)
	}
	file, _, err := w.tree.resolve(k.file)
	if err != nil {
		return at(k.file, 0, err)
	}
	generated[file] = rewritten
	for name, text := range generated {
		if old, ok := w.generated[name]; ok && !bytes.Equal(old, text) {
			return k.fault("helmCharts", "", "the charts come out differently for two overlays with different namespaces; set namespace in each helmCharts entry")
		}
		w.generated[name] = text
	}
	return nil
}

// withoutCharts rewrites a kustomization: charts out, component in. It works
// on the JSON that kustomize itself makes of the text, so nothing else changes.
func withoutCharts(text []byte, some bool) ([]byte, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(asJSON, &fields); err != nil {
		return nil, err
	}
	components := []string{}
	if some {
		components = append(components, inflated)
	}
	for key, value := range fields {
		switch {
		case strings.EqualFold(key, "helmCharts"), strings.EqualFold(key, "helmGlobals"), strings.EqualFold(key, "helmChartInflationGenerator"):
			delete(fields, key)
		case strings.EqualFold(key, "components"):
			var own []string
			if err := json.Unmarshal(value, &own); err != nil {
				return nil, err
			}
			components = append(components, own...)
			delete(fields, key)
		}
	}
	// An empty list keeps a kustomization of nothing but charts from being
	// empty, which kustomize refuses.
	if fields["components"], err = json.Marshal(components); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// chart renders one entry into the objects kustomize would make of it.
func (w *walk) chart(k *kustomizationFile, entry types.HelmChart, namespace string) ([]byte, error) {
	fault := func(format string, args ...any) error {
		return k.fault("helmCharts", entry.Name, "chart %s: %w", entry.Name, fmt.Errorf(format, args...))
	}
	switch {
	case entry.Name == "":
		return nil, k.fault("helmCharts", "", "an entry has no name")
	case outside(entry.Name) || strings.ContainsAny(entry.Name, `/\`):
		return nil, fault("not the name of a folder in chartHome")
	case entry.NameTemplate != "":
		return nil, fault("nameTemplate is not supported; write the name as releaseName")
	case entry.ReleaseName == "":
		return nil, fault("releaseName is missing; without it Helm makes up another one with every render")
	}
	dir, err := w.chartHome(k, entry)
	if err != nil {
		return nil, err
	}
	if err := w.checkVersion(k, entry, dir); err != nil {
		return nil, err
	}
	values, err := w.chartValues(k, entry, dir)
	if err != nil {
		return nil, err
	}
	capabilities, err := capabilitiesOf(w.entryCapabilities(entry))
	if err != nil {
		return nil, fault("%w", err)
	}
	text, dependent, err := inflation{
		dir:          dir,
		release:      entry.ReleaseName,
		namespace:    cmp.Or(entry.Namespace, namespace, defaultNamespace),
		values:       values,
		capabilities: capabilities,
		includeCRDs:  entry.IncludeCRDs,
		hooks:        !entry.SkipHooks,
		tests:        !entry.SkipTests,
	}.template(w.tree)
	if err != nil {
		return nil, err
	}
	w.dependent = w.dependent || dependent
	objects, err := helmObjects(text)
	if err != nil {
		return nil, fault("%w", err)
	}
	return objects, nil
}

// entryCapabilities: what an entry says about the cluster goes before what is
// known of it. kustomize's flags (which Argo CD sets) say they take precedence,
// but the entry is read over them.
func (w *walk) entryCapabilities(entry types.HelmChart) *config.Capabilities {
	c := config.Capabilities{KubeVersion: entry.KubeVersion, APIVersions: entry.ApiVersions}
	if w.capabilities != nil {
		c.KubeVersion = cmp.Or(c.KubeVersion, w.capabilities.KubeVersion)
		if len(c.APIVersions) == 0 {
			c.APIVersions = w.capabilities.APIVersions
		}
	}
	return &c
}

// chartHome finds the folder of a chart.
func (w *walk) chartHome(k *kustomizationFile, entry types.HelmChart) (string, error) {
	home := types.HelmDefaultHome
	if k.HelmGlobals != nil && k.HelmGlobals.ChartHome != "" {
		home = k.HelmGlobals.ChartHome
	}
	home = join(k.dir, home)
	if outside(home) {
		return "", k.fault("helmGlobals", "", "chartHome %w", errOutside)
	}
	dirs := []string{join(home, entry.Name)}
	if entry.Version != "" && entry.Repo != "" {
		dirs = slices.Insert(dirs, 0, join(home, entry.Name+"-"+entry.Version+"/"+entry.Name))
	}
	for _, dir := range dirs {
		if w.tree.isDir(dir) {
			return dir, nil
		}
	}
	return "", k.fault("helmCharts", entry.Name, "chart %s is not in the repository; run helm pull --untar --untardir %s and commit it, because rendering uses no network", entry.Name, home)
}

func (w *walk) checkVersion(k *kustomizationFile, entry types.HelmChart, dir string) error {
	if entry.Version == "" {
		return nil
	}
	file := join(dir, "Chart.yaml")
	content, err := w.tree.readFile(file)
	if err != nil {
		return at(file, 0, err)
	}
	var metadata chart.Metadata
	if err := yaml.Unmarshal(content, &metadata); err != nil {
		return at(file, 0, err)
	}
	if metadata.Version != entry.Version && !chartutil.IsCompatibleRange(entry.Version, metadata.Version) {
		return k.fault("helmCharts", entry.Name, "chart %s: version %s is wanted, %s has %s", entry.Name, entry.Version, dir, metadata.Version)
	}
	return nil
}

// chartValues are the value files kustomize gives to helm template.
func (w *walk) chartValues(k *kustomizationFile, entry types.HelmChart, dir string) ([]valueFile, error) {
	var values []valueFile
	base := valueFile{name: join(dir, "values.yaml")}
	switch {
	case entry.ValuesFile != "":
		if _, err := w.readBelow(k, "helmCharts", entry.ValuesFile); err != nil {
			return nil, err
		}
		base.name = join(k.dir, entry.ValuesFile)
		fallthrough
	case w.tree.isFile(base.name):
		var err error
		if base, err = loadValueFile(w.tree, base.name); err != nil {
			return nil, err
		}
	}
	if len(entry.ValuesInline) > 0 {
		merged, err := mergedValues(base.text, entry)
		if err != nil {
			return nil, k.fault("helmCharts", entry.Name, "chart %s: %w", entry.Name, err)
		}
		base = valueFile{name: k.file, text: merged}
	}
	values = append(values, base)
	for _, name := range entry.AdditionalValuesFiles {
		if _, err := w.readBelow(k, "helmCharts", name); err != nil {
			return nil, err
		}
		f, err := loadValueFile(w.tree, join(k.dir, name))
		if err != nil {
			return nil, err
		}
		values = append(values, f)
	}
	return values, nil
}

// mergedValues joins the values file and valuesInline with kustomize's own
// merge, so that lists and nulls come out the same.
func mergedValues(file []byte, entry types.HelmChart) ([]byte, error) {
	inline := entry.ValuesInline
	if entry.ValuesMerge == "replace" {
		return yaml.Marshal(inline)
	}
	if len(bytes.TrimSpace(file)) == 0 || blank(file) {
		file = []byte("{}\n")
	}
	fileNode, err := kyaml.Parse(string(file))
	if err != nil {
		return nil, err
	}
	inlineNode, err := kyaml.FromMap(inline)
	if err != nil {
		return nil, err
	}
	var merged *kyaml.RNode
	switch entry.ValuesMerge {
	case "", "override":
		merged, err = merge2.Merge(inlineNode, fileNode, kyaml.MergeOptions{})
	case "merge":
		merged, err = merge2.Merge(fileNode, inlineNode, kyaml.MergeOptions{})
	default:
		return nil, fmt.Errorf("valuesMerge %q is none of merge, override and replace", entry.ValuesMerge)
	}
	if err != nil {
		return nil, err
	}
	values := common.Values{}
	if !merged.IsNilOrEmpty() {
		if values, err = merged.Map(); err != nil {
			return nil, err
		}
	}
	return yaml.Marshal(values)
}

// helmObjects reads a chart's output as kustomize does and marks the objects
// as it does: kustomize does not set the namespace of objects of charts.
func helmObjects(text []byte) ([]byte, error) {
	defer sharedSchema()()
	resources, err := resmap.NewFactory(provider.NewDepProvider().GetResourceFactory()).NewResMapFromBytes(text)
	if err != nil {
		return nil, err
	}
	for _, r := range resources.Resources() {
		if err := r.PipeE(kyaml.SetAnnotation(konfig.HelmGeneratedAnnotation, "true")); err != nil {
			return nil, err
		}
	}
	return resources.AsYaml()
}
