package render

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
)

const (
	// maxChartFiles and maxChartDepth bound a chart's folder, which symlinks
	// can make endless.
	maxChartFiles = 20_000
	maxChartDepth = 64
	// maxChart bounds the bytes of a chart, as Helm bounds an archive.
	maxChart = 100 << 20
)

// chartFiles reads a chart's folder as Helm does: symlinks followed, what
// .helmignore lists left out, byte order marks dropped.
func chartFiles(t *tree, dir string) ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	if file := join(dir, ignore.HelmIgnore); t.isFile(file) {
		text, err := t.readFile(file)
		if err != nil {
			return nil, at(file, 0, err)
		}
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, at(file, 0, err)
		}
	}
	rules.AddDefaults()
	w := chartWalk{tree: t, dir: dir, rules: rules}
	if err := w.folder("", 0); err != nil {
		return nil, err
	}
	return w.files, nil
}

type chartWalk struct {
	tree  *tree
	dir   string
	rules *ignore.Rules
	files []*archive.BufferedFile
	bytes int
}

func (w *chartWalk) folder(below string, depth int) error {
	here := join(w.dir, below)
	if depth > maxChartDepth {
		return atf(here, 0, "folders nest deeper than %d levels", maxChartDepth)
	}
	names, err := w.tree.readDir(here)
	if err != nil {
		return at(here, 0, err)
	}
	for _, name := range names {
		if err := w.entry(join(below, name), depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *chartWalk) entry(name string, depth int) error {
	file := join(w.dir, name)
	info, err := w.tree.stat(file)
	if err != nil {
		return at(file, 0, err)
	}
	if w.rules.Ignore(name, info) {
		return nil
	}
	if info.IsDir() {
		return w.folder(name, depth+1)
	}
	if len(w.files) >= maxChartFiles {
		return atf(w.dir, 0, "chart has more than %d files", maxChartFiles)
	}
	if info.Size() > archive.MaxDecompressedFileSize {
		return atf(file, 0, "file of %d bytes in a chart; Helm takes at most %d (add it to .helmignore)", info.Size(), archive.MaxDecompressedFileSize)
	}
	data, err := w.tree.readFile(file)
	if err != nil {
		return at(file, 0, err)
	}
	if w.bytes += len(data); w.bytes > maxChart {
		return atf(w.dir, 0, "chart has more than %d bytes", maxChart)
	}
	w.files = append(w.files, &archive.BufferedFile{Name: name, Data: bytes.TrimPrefix(data, bom)})
	return nil
}

// checkChartFiles finds faults in the files that Helm itself would report
// without a line.
func checkChartFiles(dir string, files []*archive.BufferedFile) error {
	for _, f := range files {
		switch path.Base(f.Name) {
		case "Chart.yaml", "Chart.lock", "values.yaml", "requirements.yaml", "requirements.lock":
			// Only those of the chart and of subcharts: others are any files.
			if d := path.Dir(f.Name); d != "." && path.Base(path.Dir(d)) != "charts" {
				continue
			}
			roots, err := parseYAML(f.Data)
			if err != nil {
				return at(join(dir, f.Name), 0, err)
			}
			for _, root := range roots {
				if root.Kind != yaml.MappingNode {
					return atf(join(dir, f.Name), root.Line, "not a map of fields")
				}
			}
		}
	}
	return nil
}

// loadChart makes a chart of its files. Each call gives a new chart: rendering
// changes charts.
func loadChart(dir string, files []*archive.BufferedFile) (*chart.Chart, error) {
	c, err := loader.LoadFiles(files)
	manifest := join(dir, "Chart.yaml")
	if err != nil {
		return nil, at(manifest, 0, err)
	}
	order(c)
	switch c.Metadata.APIVersion {
	case chart.APIVersionV1, chart.APIVersionV2:
	default:
		return nil, atf(manifest, lineIn(files, "apiVersion"), "chart apiVersion %s is none of v1 and v2", c.Metadata.APIVersion)
	}
	if kind := c.Metadata.Type; kind != "" && kind != "application" {
		return nil, atf(manifest, lineIn(files, "type"), "a chart of type %s cannot be rendered by itself", kind)
	}
	var missing []string
	for _, wanted := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(d *chart.Chart) bool { return d.Name() == wanted.Name }) {
			missing = append(missing, wanted.Name)
		}
	}
	if len(missing) > 0 {
		return nil, atf(manifest, lineIn(files, "dependencies"), "dependencies are not in charts/: %s; run helm dependency build and commit charts/", strings.Join(missing, ", "))
	}
	return c, nil
}

// order sorts subcharts, which Helm loads in random order. Only subcharts that
// Chart.yaml does not list keep that order to the end.
func order(c *chart.Chart) {
	subcharts := slices.Clone(c.Dependencies())
	slices.SortStableFunc(subcharts, func(a, b *chart.Chart) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Metadata.Version, b.Metadata.Version))
	})
	c.SetDependencies(subcharts...)
	for _, sub := range subcharts {
		order(sub)
	}
}

// lineIn is the line of a field of Chart.yaml; 0 if it is not there.
func lineIn(files []*archive.BufferedFile, key string) int {
	for _, f := range files {
		if f.Name != "Chart.yaml" {
			continue
		}
		roots, err := parseYAML(f.Data)
		if err == nil && len(roots) == 1 {
			return keyLine(roots[0], key)
		}
	}
	return 0
}

func keyLine(n *yaml.Node, key string) int {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if strings.EqualFold(n.Content[i].Value, key) {
				return n.Content[i].Line
			}
		}
	}
	return 0
}

// readValues reads value files in order; later ones win.
func readValues(files []valueFile) (map[string]any, error) {
	values := map[string]any{}
	for _, f := range files {
		more, err := loader.LoadValues(bytes.NewReader(f.text))
		if err != nil {
			return nil, at(f.name, 0, err)
		}
		values = loader.MergeMaps(values, more)
	}
	return values, nil
}

// valueFile is the text of a file given with --values.
type valueFile struct {
	name string
	text []byte
}

// loadValueFile reads and checks a value file.
func loadValueFile(t *tree, name string) (valueFile, error) {
	if outside(name) {
		return valueFile{}, atf(name, 0, "value file %w", errOutside)
	}
	content, err := t.readFile(name)
	if err != nil {
		return valueFile{}, at(name, 0, err)
	}
	roots, err := parseYAML(content)
	if err != nil {
		return valueFile{}, at(name, 0, err)
	}
	for _, root := range roots {
		if root.Kind != yaml.MappingNode {
			return valueFile{}, atf(name, root.Line, "values are not a map of fields")
		}
	}
	return valueFile{name, bytes.TrimPrefix(content, bom)}, nil
}
