package render_test

import (
	"strconv"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/fleeting-taas/propagator/pkg/render"
)

func benchmark(b *testing.B, in render.Input) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := render.Render(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// The peer is the library alone on the same files on disk.
func BenchmarkRenderKustomize(b *testing.B) {
	c := loadGolden(b, "testdata/kustomize-envs.txtar")
	b.Run("render", func(b *testing.B) { benchmark(b, c.input) })
	b.Run("krusty", func(b *testing.B) {
		dir := c.write(b)
		b.ReportAllocs()
		for b.Loop() {
			options := krusty.MakeDefaultOptions()
			options.Reorder = krusty.ReorderOptionUnspecified
			resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir+"/"+c.input.Application.Path)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := resources.AsYaml(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The peer is Helm's loader and engine without sorting and printing. The chart
// calls randAlphaNum, so render executes it twice.
func BenchmarkRenderHelm(b *testing.B) {
	c := loadGolden(b, "testdata/helm-shop.txtar")
	b.Run("render", func(b *testing.B) { benchmark(b, c.input) })
	b.Run("engine", func(b *testing.B) {
		dir := c.write(b)
		b.ReportAllocs()
		for b.Loop() {
			chart, err := loader.LoadDir(dir + "/" + c.input.Application.Path)
			if err != nil {
				b.Fatal(err)
			}
			values := map[string]any{"global": map[string]any{"zone": "eu"}}
			if err := chartutil.ProcessDependencies(chart, values); err != nil {
				b.Fatal(err)
			}
			top, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: "web", Namespace: "x"}, common.DefaultCapabilities)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := engine.Render(chart, top); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func manyPods(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Replace("---\n"+pod("registry.example/shop/web:"+strconv.Itoa(i)), "name: p", "name: p"+strconv.Itoa(i), 1))
	}
	return b.String()
}

func BenchmarkRenderYAML(b *testing.B) {
	c := goldenCase{input: render.Input{FS: archive("-- web/a.yaml --\n" + manyPods(500))}}
	c.input.Application.Path, c.input.Application.Renderer = "web", "yaml"
	benchmark(b, c.input)
}

func BenchmarkPin(b *testing.B) {
	out, err := render.Parse([]byte(manyPods(500)), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(out.YAML)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := out.Pin(pinDigest); err != nil {
			b.Fatal(err)
		}
	}
}
