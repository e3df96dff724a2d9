package render

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// defaultNamespace is Helm's when neither flag nor kubeconfig name one.
const defaultNamespace = "default"

// renderHelm prints a chart as helm template --include-crds does.
func renderHelm(t *tree, in Input) (text []byte, dependent bool, err error) {
	app := in.Application
	var values []valueFile
	for _, name := range app.Values {
		f, err := loadValueFile(t, name)
		if err != nil {
			return nil, false, err
		}
		values = append(values, f)
	}
	capabilities, err := capabilitiesOf(in.Capabilities)
	if err != nil {
		return nil, false, err
	}
	return inflation{
		dir:          app.Path,
		release:      cmp.Or(app.ReleaseName, app.Name),
		namespace:    cmp.Or(in.Namespace, defaultNamespace),
		values:       values,
		capabilities: capabilities,
		includeCRDs:  true,
		hooks:        true,
		tests:        true,
	}.template(t)
}

// capabilitiesOf are Helm's defaults with what is known about the cluster.
func capabilitiesOf(c *config.Capabilities) (*common.Capabilities, error) {
	capabilities := common.DefaultCapabilities.Copy()
	if c == nil {
		return capabilities, nil
	}
	if c.KubeVersion != "" {
		version, err := common.ParseKubeVersion(c.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("kubeVersion %q of the cluster: %w", c.KubeVersion, err)
		}
		capabilities.KubeVersion = *version
	}
	capabilities.APIVersions = slices.Concat(capabilities.APIVersions, c.APIVersions)
	return capabilities, nil
}

// inflation is one run of helm template.
type inflation struct {
	dir                string // of the chart
	release, namespace string
	values             []valueFile
	capabilities       *common.Capabilities
	includeCRDs        bool
	hooks, tests       bool
}

// template renders the chart. Templates may call functions whose result
// changes with every call as long as the output does not depend on them, which
// is common (default (randAlphaNum 10) .Values.password): they are rendered
// again with other results, and a difference is an error.
func (i inflation) template(t *tree) (text []byte, dependent bool, err error) {
	manifest := join(i.dir, "Chart.yaml")
	if !t.isFile(manifest) {
		return nil, false, atf(manifest, 0, "no such file")
	}
	if err := chartutil.ValidateReleaseName(i.release); err != nil {
		return nil, false, atf(manifest, 0, "release name %q: %w", i.release, err)
	}
	files, err := chartFiles(t, i.dir)
	if err != nil {
		return nil, false, err
	}
	if err := checkChartFiles(i.dir, files); err != nil {
		return nil, false, err
	}
	p := &probe{stopped: t.stopped}
	first, err := i.pass(t, files, p)
	if err != nil {
		return nil, false, err
	}
	if p.calls > 0 {
		if err := i.reproducible(t, files, first.text, p.calls); err != nil {
			return nil, false, err
		}
	}
	return first.text, first.dependent, nil
}

type passed struct {
	text      []byte
	dependent bool
}

// pass renders once. It starts from the files because templates can change
// the values they see.
func (i inflation) pass(t *tree, files []*archive.BufferedFile, p *probe) (passed, error) {
	c, err := loadChart(i.dir, files)
	if err != nil {
		return passed{}, err
	}
	values, err := readValues(i.values)
	if err != nil {
		return passed{}, err
	}
	manifest := join(i.dir, "Chart.yaml")
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return passed{}, atf(manifest, lineIn(files, "dependencies"), "dependencies: %w", err)
	}
	top, err := util.ToRenderValuesWithSchemaValidation(c, values, common.ReleaseOptions{
		Name: i.release, Namespace: i.namespace, Revision: 1, IsInstall: true,
	}, i.capabilities, true)
	if err != nil {
		return passed{}, at(join(i.dir, "values.yaml"), 0, err)
	}
	all, ok := top["Values"].(common.Values)
	if !ok {
		return passed{}, atf(manifest, 0, "Helm gave the values as a %T", top["Values"])
	}
	if err := validateValues(t, c, i.dir, all); err != nil {
		return passed{}, err
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, i.capabilities.KubeVersion.String()) {
		return passed{}, atf(manifest, lineIn(files, "kubeVersion"), "chart wants Kubernetes %s, the cluster has %s", want, i.capabilities.KubeVersion.Version)
	}
	e := engine.Engine{CustomTemplateFuncs: p.functions()}
	rendered, err := e.Render(c, top)
	if err != nil {
		return passed{}, i.templateError(t, err)
	}
	text, err := i.print(t, c, rendered)
	return passed{text, i.dependent(c, files)}, err
}

// print puts the rendered files together like helm template: CRDs, objects in
// the order of installation, hooks.
func (i inflation) print(t *tree, c *chart.Chart, rendered map[string]string) ([]byte, error) {
	size := 0
	for name, text := range rendered {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(rendered, name)
			continue
		}
		size += len(text)
	}
	if size > maxOutput {
		return nil, atf(join(i.dir, "Chart.yaml"), 0, "rendered %d bytes; the limit is %d", size, maxOutput)
	}
	hooks, objects, err := releaseutil.SortManifests(rendered, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, i.manifestError(t, err)
	}
	var b bytes.Buffer
	if i.includeCRDs {
		for _, crd := range c.CRDObjects() {
			fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", crd.Filename, crd.File.Data)
		}
	}
	for _, o := range objects {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", o.Name, o.Content)
	}
	out := bytes.NewBuffer(append(bytes.TrimSpace(b.Bytes()), '\n'))
	for _, h := range hooks {
		if i.hooks && (i.tests || !slices.Contains(h.Events, release.HookTest)) {
			fmt.Fprintf(out, "---\n# Source: %s\n%s\n", h.Path, h.Manifest)
		}
	}
	return out.Bytes(), nil
}

// dependent: templates may see the cluster. It looks for the word in
// templates and in values (which tpl turns into templates), so it errs on the
// side of saying yes.
func (i inflation) dependent(c *chart.Chart, files []*archive.BufferedFile) bool {
	word := []byte("Capabilities")
	if c.Metadata.KubeVersion != "" {
		return true
	}
	for _, v := range i.values {
		if bytes.Contains(v.text, word) {
			return true
		}
	}
	for _, f := range files {
		if path.Base(f.Name) == "values.yaml" && bytes.Contains(f.Data, word) {
			return true
		}
	}
	return templatesContain(c, word)
}

func templatesContain(c *chart.Chart, word []byte) bool {
	for _, f := range c.Templates {
		if bytes.Contains(f.Data, word) {
			return true
		}
	}
	// Files.Get with tpl reads templates from anywhere in the chart.
	for _, f := range c.Files {
		if path.Ext(f.Name) != ".md" && !strings.HasPrefix(f.Name, "crds/") && bytes.Contains(f.Data, word) {
			return true
		}
	}
	return slices.ContainsFunc(c.Dependencies(), func(d *chart.Chart) bool { return templatesContain(d, word) })
}

var (
	// templateAt is a position in Helm's messages: chart/templates/x.yaml:12:20.
	templateAt = regexp.MustCompile(`([^\s():"]+/[^\s():"]+):(\d+)(?::\d+)?`)
	// parseErrorOn is Helm's message about text that a template made.
	parseErrorOn = regexp.MustCompile(`YAML parse error on (\S+): `)
)

// templateError places an error of the template engine: at the deepest
// template it names, which is where people have to look.
func (i inflation) templateError(t *tree, err error) error {
	message := err.Error()
	file, line := "", 0
	for _, m := range templateAt.FindAllStringSubmatch(message, -1) {
		if f := templateFile(t, i.dir, m[1]); f != "" {
			file = f
			line, _ = strconv.Atoi(m[2])
		}
	}
	lines := strings.FieldsFunc(message, func(r rune) bool { return r == '\n' })
	for n := range lines {
		lines[n] = strings.TrimSpace(lines[n])
	}
	return at(cmp.Or(file, join(i.dir, "Chart.yaml")), line, errors.New(strings.Join(lines, " ")))
}

func (i inflation) manifestError(t *tree, err error) error {
	message := err.Error()
	m := parseErrorOn.FindStringSubmatchIndex(message)
	if m == nil {
		return at(join(i.dir, "Chart.yaml"), 0, err)
	}
	file := templateFile(t, i.dir, message[m[2]:m[3]])
	if file == "" {
		return at(join(i.dir, "Chart.yaml"), 0, err)
	}
	return atf(file, 0, "the template's output is no valid YAML: %s", message[m[1]:])
}
