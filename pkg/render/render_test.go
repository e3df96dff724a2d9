package render_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

func renderFiles(t *testing.T, files string, a config.Application) (*render.Output, error) {
	t.Helper()
	a.Name = "web"
	if a.Path == "" {
		a.Path = "web"
	}
	return render.Render(t.Context(), render.Input{FS: archive(files), Application: a})
}

func TestDirectory(t *testing.T) {
	const files = `-- web/b.yml --
# second
` + object + `-- web/a.yaml --
---
` + object + `---
apiVersion: v1
kind: List
items: []
-- web/c.json --
{"apiVersion": "v1", "kind": "ConfigMap",
	"data": {"x": "\ud83d\ude00 \/ <&>"}}
-- web/d.json --
{
	"apiVersion": "v1", "kind": "Pod"
}
-- web/values.yaml --
replicas: 1
-- web/package.json --
{"name": "x"}
-- web/broken-values.yaml --
a: [
-- web/marked.yaml --
# +argocd:skip-file-rendering
` + object + `-- web/sub/below.yaml --
` + object + `-- web/README.md --
no
-- web/z.yaml -> ../shared/z.yaml --
-- shared/z.yaml --
%YAML 1.1
---
` + object
	const want = "---\n" + object + "---\napiVersion: v1\nkind: List\nitems: []\n---\n# second\n" + object +
		"---\n" + `{"apiVersion":"v1","data":{"x":"😀 / <&>"},"kind":"ConfigMap"}` + "\n---\n" + "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Pod\"\n}\n...\n%YAML 1.1\n---\n" + object
	out, err := renderFiles(t, files, config.Application{Renderer: config.RendererYAML})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(out.YAML)); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if documents, err := render.Documents(out.YAML); err != nil || len(documents) != 6 {
		t.Errorf("%d documents, %v", len(documents), err)
	}
}

const (
	chartYAML = "-- web/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n"
	overlay   = "-- web/kustomization.yaml --\n"
)

// Each error names the file and, where it can be known, the line.
func TestErrors(t *testing.T) {
	helm, kustomize, yaml := config.Application{Renderer: "helm"}, config.Application{Renderer: "kustomize"}, config.Application{Renderer: "yaml"}
	for name, c := range map[string]struct {
		files string
		app   config.Application
		want  string // "application web: " goes before
	}{
		"yaml: syntax":              {"-- web/a.yaml --\n" + object + "---\napiVersion: v1\nkind: A\nmetadata:\n  - a: b: c\n", yaml, "web/a.yaml:8: line 8: invalid YAML: mapping values are not allowed"},
		"yaml: second is no object": {"-- web/a.yaml --\n" + object + "---\na: 1\n", yaml, "web/a.yaml:5: line 5: not an object"},
		"yaml: json":                {"-- web/a.json --\n{\"apiVersion\": \"v1\",\n\"kind\": }\n", yaml, "web/a.json:2: invalid JSON"},
		"yaml: two in json":         {"-- web/a.json --\n{\"apiVersion\": \"v1\", \"kind\": \"A\"}\n{}\n", yaml, "several objects in one JSON file"},
		"yaml: bomb":                {"-- web/a.yaml --\napiVersion: v1\nkind: A\nmetadata: {}\n" + bomb(), yaml, "once its aliases are expanded"},
		"yaml: empty":               {"-- web/README --\n", yaml, "web: rendered no objects; set \"empty: true\""},
		"no such renderer":          {"-- web/a --\n", config.Application{Renderer: "jsonnet"}, `renderer "jsonnet" is none of`},

		"kustomize: none":              {"-- web/a.yaml --\n" + object, kustomize, "web: no kustomization.yaml in this folder"},
		"kustomize: two":               {overlay + "{}\n-- web/kustomization.yml --\n{}\n", kustomize, "web/kustomization.yml: web/kustomization.yaml is a kustomization of the same folder"},
		"kustomize: syntax":            {overlay + "resources:\n- a\n b: c\n", kustomize, "web/kustomization.yaml:3: invalid YAML"},
		"kustomize: unknown field":     {overlay + "namePrefix: a\npatches:\n- pth: x\n", kustomize, `web/kustomization.yaml:3: json: unknown field "pth"`},
		"kustomize: wrong kind":        {overlay + "apiVersion: v1\nkind: Pod\n", kustomize, "web/kustomization.yaml:2: kind should be"},
		"kustomize: missing resource":  {overlay + "resources:\n- a.yaml\n- b.yaml\n-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:3: resources: no file or folder web/b.yaml"},
		"kustomize: out of the repo":   {overlay + "resources:\n- ../../x\n", kustomize, "web/kustomization.yaml:2: resources: ../../x leads out of the repository"},
		"kustomize: broken resource":   {overlay + "resources: [a.yaml]\n-- web/a.yaml --\n" + object + "---\na: b: c\n", kustomize, "web/a.yaml:5: invalid YAML"},
		"kustomize: not an object":     {overlay + "resources: [a.yaml]\n-- web/a.yaml --\n\nreplicas: 1\n", kustomize, "web/a.yaml:2: not an object"},
		"kustomize: bomb":              {overlay + "resources: [a.yaml]\n-- web/a.yaml --\napiVersion: v1\nkind: A\nmetadata: {name: a}\n" + bomb(), kustomize, "web/a.yaml:11: YAML has more than"},
		"kustomize: bomb in a patch":   {overlay + "configurations: [c.yaml]\n-- web/c.yaml --\n" + bomb(), kustomize, "once its aliases are expanded"},
		"kustomize: base of a base":    {overlay + "resources: [../base]\n-- base/kustomization.yaml --\nresources: [gone]\n", kustomize, "base/kustomization.yaml:1: resources: no file or folder base/gone"},
		"kustomize: cycle":             {overlay + "resources: [../base]\n-- base/kustomization.yaml --\nresources: [../web]\n", kustomize, "web/kustomization.yaml: the kustomization reaches itself"},
		"kustomize: itself":            {overlay + "resources: [../web]\n", kustomize, "web/kustomization.yaml: the kustomization reaches itself"},
		"kustomize: component":         {overlay + "resources: [../c]\n-- c/kustomization.yaml --\n\nkind: Component\n", kustomize, "c/kustomization.yaml:2: kind is Component, but it is used as a resource"},
		"kustomize: no component":      {overlay + "components: [../c]\n-- c/kustomization.yaml --\nkind: Kustomization\n", kustomize, "c/kustomization.yaml:1: kind is Kustomization, but it is used as a component"},
		"kustomize: missing patch":     {overlay + "resources: [a.yaml]\npatches:\n- path: p.yaml\n-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:3: patches: no file web/p.yaml"},
		"kustomize: patch above":       {overlay + "resources: [a.yaml]\npatches: [{path: ../p.yaml}]\n-- p.yaml --\n" + object + "-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:2: patches: p.yaml is not below web"},
		"kustomize: patch by symlink":  {overlay + "resources: [a.yaml]\npatches: [{path: p.yaml}]\n-- web/p.yaml -> ../p.yaml --\n-- p.yaml --\n" + object + "-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:2: patches: p.yaml is not below web"},
		"kustomize: patch target":      {overlay + "resources: [a.yaml]\npatches:\n- path: p.yaml\n-- web/p.yaml --\n# x\n" + strings.Replace(object, "name: a", "name: b", 1) + "-- web/a.yaml --\n" + object, kustomize, "web/p.yaml:2: patch for ConfigMap/b: no such object"},
		"kustomize: inline target":     {overlay + "resources: [a.yaml]\npatches:\n- patch: |-\n    " + strings.ReplaceAll(strings.TrimSpace(strings.Replace(object, "name: a", "name: b", 1)), "\n", "\n    ") + "\n-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:3: patch for ConfigMap/b: no such object"},
		"kustomize: inline syntax":     {overlay + "resources: [a.yaml]\npatches:\n- patch: 'a: b: c'\n-- web/a.yaml --\n" + object, kustomize, "web/kustomization.yaml:3: patches: invalid YAML"},
		"kustomize: generator file":    {overlay + "configMapGenerator:\n- name: a\n  files:\n  - key=gone.txt\n", kustomize, "web/kustomization.yaml:4: configMapGenerator: no file web/gone.txt"},
		"kustomize: same object twice": {overlay + "resources: [a.yaml, b.yaml]\n-- web/a.yaml --\n" + object + "-- web/b.yaml --\n" + object, kustomize, "web/kustomization.yaml: "},

		"helm: no chart":           {"-- web/values.yaml --\n", helm, "web/Chart.yaml: no such file"},
		"helm: broken chart":       {"-- web/Chart.yaml --\nname: web\nversion: 1\n x: y\n", helm, "web/Chart.yaml:3: invalid YAML"},
		"helm: no version":         {"-- web/Chart.yaml --\nname: web\n", helm, "web/Chart.yaml: validation: chart.metadata.version is required"},
		"helm: library":            {chartYAML + "type: library\n", helm, "web/Chart.yaml:4: a chart of type library"},
		"helm: future version":     {strings.Replace(chartYAML, "v2", "v3", 1), helm, "web/Chart.yaml:1: chart apiVersion v3"},
		"helm: dependencies":       {chartYAML + "dependencies: [{name: redis, version: 1.x.x, repository: 'https://u:hunter2@x'}]\n", helm, "web/Chart.yaml:4: dependencies are not in charts/: redis; run helm dependency build and commit charts/"},
		"helm: kubeVersion":        {chartYAML + "kubeVersion: '>=9.0'\n", helm, "web/Chart.yaml:4: chart wants Kubernetes >=9.0"},
		"helm: chart values":       {chartYAML + "-- web/values.yaml --\na: 1\nb: : 2\n", helm, "web/values.yaml:2: invalid YAML"},
		"helm: value file":         {chartYAML + "-- v.yaml --\na: 1\n\tb: 2\n", config.Application{Renderer: "helm", Values: []string{"v.yaml"}}, "v.yaml:2: invalid YAML"},
		"helm: value list":         {chartYAML + "-- v.yaml --\n- a\n", config.Application{Renderer: "helm", Values: []string{"v.yaml"}}, "v.yaml:1: values are not a map"},
		"helm: missing value file": {chartYAML, config.Application{Renderer: "helm", Values: []string{"gone.yaml"}}, "gone.yaml: open gone.yaml: file does not exist"},
		"helm: value file above":   {chartYAML, config.Application{Renderer: "helm", Values: []string{"../v.yaml"}}, "../v.yaml: value file leads out of the repository"},
		"helm: release name":       {chartYAML, config.Application{Renderer: "helm", ReleaseName: "A_B"}, `web/Chart.yaml: release name "A_B"`},
		"helm: template":           {chartYAML + "-- web/templates/a.yaml --\nx: 1\ny: {{ .Values.a.b }}\n", helm, "web/templates/a.yaml:2: web/templates/a.yaml:2:"},
		"helm: template syntax":    {chartYAML + "-- web/templates/a.yaml --\n\n{{ if }}\n", helm, "web/templates/a.yaml:2: parse error at (web/templates/a.yaml:2)"},
		"helm: fail":               {chartYAML + "-- web/templates/a.yaml --\n{{ fail \"set a name\" }}\n", helm, "web/templates/a.yaml:1: execution error at (web/templates/a.yaml:1:3): set a name"},
		"helm: in a helper":        {chartYAML + "-- web/templates/_h.tpl --\n{{ define \"x\" }}\n{{ required \"name!\" .Values.name }}\n{{ end }}\n-- web/templates/a.yaml --\n{{ include \"x\" . }}\n", helm, "web/templates/a.yaml:1: execution error at (web/templates/a.yaml:1:3): name!"},
		"helm: in a subchart":      {chartYAML + "-- web/charts/s/Chart.yaml --\nname: s\nversion: 1.0.0\n-- web/charts/s/templates/a.yaml --\n\n\n{{ fail \"no\" }}\n", helm, "web/charts/s/templates/a.yaml:3: "},
		"helm: output":             {chartYAML + "-- web/templates/a.yaml --\na: b: c\n", helm, "web/templates/a.yaml: the template's output is no valid YAML"},
		"helm: output no object":   {chartYAML + "-- web/templates/a.yaml --\n" + object + "-- web/templates/b.yaml --\nreplicas: 1\n", helm, "web/templates/b.yaml: rendered text: line 9: not an object"},
		"helm: schema":             {chartYAML + "-- web/values.schema.json --\n{\"properties\": {\"replicas\": {\"type\": \"integer\"}}}\n-- web/values.yaml --\nreplicas: many\n", helm, "web/values.schema.json: values of chart web: at '/replicas': got string, want integer"},
		"helm: subchart schema":    {chartYAML + "-- web/charts/s/Chart.yaml --\nname: s\nversion: 1.0.0\n-- web/charts/s/values.schema.json --\n{\"required\": [\"x\"]}\n-- web/values.yaml --\ns: {y: 1}\n", helm, "web/charts/s/values.schema.json: values of chart s: at '': missing property 'x'"},
		"helm: schema elsewhere":   {chartYAML + "-- web/values.schema.json --\n{\"$ref\": \"https://user:hunter2@schemas.example/x.json\"}\n", helm, "web/values.schema.json: values of chart web: schema refers to https://schemas.example/x.json: schemas outside"},
		"helm: schema on disk":     {chartYAML + "-- web/values.schema.json --\n{\"$ref\": \"file:///etc/hostname\"}\n", helm, "schema refers to file:///etc/hostname"},
		"helm: empty":              {chartYAML, helm, "web: rendered no objects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, c.files, c.app)
			var e *render.Error
			if !errors.As(err, &e) || e.Application != "web" {
				t.Fatalf("error %v is no *render.Error of the application", err)
			}
			if !strings.HasPrefix(err.Error(), "application web: "+c.want) && (!strings.Contains(err.Error(), c.want) || strings.Contains(c.want, ".yaml:")) {
				t.Errorf("error\n%v, want\napplication web: %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("credentials in %v", err)
			}
		})
	}
}

// Nothing is fetched and nothing is run, whatever the repository says.
func TestRemote(t *testing.T) {
	const remote = "https://user:hunter2@git.example/x.yaml"
	for name, k := range map[string]string{
		"resource":             "resources:\n- " + remote,
		"key in other letters": "RESOURCES:\n- " + remote,
		"upper case":           "resources:\n- HTTPS://user:hunter2@git.example/x",
		"binary":               "resources:\n- !!binary aHR0cHM6Ly91c2VyOmh1bnRlcjJAZ2l0LmV4YW1wbGUveA==",
		"repository":           "resources:\n- github.com/org/repo//path?ref=v1",
		"repository by ref":    "resources:\n- org/repo?ref=v1",
		"ssh":                  "resources:\n- git@github.com:org/repo.git",
		"ssh url":              "resources:\n- ssh://user:hunter2@git.example/repo",
		"other user":           "resources:\n- me@git.example:org/repo",
		"forced git":           "resources:\n- git::https://user:hunter2@git.example/repo",
		"file url":             "resources:\n- file:///etc/passwd",
		"base":                 "bases:\n- " + remote,
		"component":            "components:\n- " + remote,
		"crds":                 "crds:\n- " + remote,
		"configurations":       "configurations:\n- " + remote,
		"patch":                "patches:\n- path: " + remote,
		"json patch":           "patchesJson6902:\n- {path: \"" + remote + "\", target: {kind: Pod, version: v1, name: a}}",
		"strategic patch":      "patchesStrategicMerge:\n- " + remote,
		"config map":           "configMapGenerator:\n- {name: a, files: [\"" + remote + "\"]}",
		"config map by key":    "configMapGenerator:\n- {name: a, files: [\"k=" + remote + "\"]}",
		"config map env":       "configMapGenerator:\n- {name: a, envs: [\"" + remote + "\"]}",
		"secret env":           "secretGenerator:\n- {name: a, env: \"" + remote + "\"}",
		"replacements":         "replacements:\n- path: " + remote,
		"openapi":              "openapi:\n  path: " + remote,
		"transformer":          "transformers:\n- " + remote,
		"generator inside":     "generators:\n- |-\n  {apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: a}, files: [\"k=" + remote + "\"]}",
		"transformer file":     "transformers:\n- t.yaml\n-- web/t.yaml --\n{apiVersion: builtin, kind: PatchTransformer, metadata: {name: a}, path: \"" + remote + "\"}",
		"transformer by alias": "transformers:\n- t.yaml\n-- web/t.yaml --\n{apiVersion: builtin, kind: PatchTransformer, metadata: {name: &a \"" + remote + "\"}, Path: *a}",
		"edited transformer":   "transformers:\n- t\n-- web/t/kustomization.yaml --\nresources: [t.yaml]\npatches: []\n-- web/t/t.yaml --\n{apiVersion: builtin, kind: PatchTransformer, metadata: {name: a}}",
		"program":              "transformers:\n- |-\n  {apiVersion: x.example/v1, kind: Sed, metadata: {name: a, annotations: {config.kubernetes.io/function: \"exec: {path: ./sed}\"}}}",
		"chart generator":      "generators:\n- |-\n  {apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: a}, name: x}",
		"chart":                "helmCharts:\n- {name: x, releaseName: x, repo: \"" + remote + "\"}",
		"chart values":         "helmCharts:\n- {name: x, releaseName: x, valuesFile: \"" + remote + "\"}\n-- web/charts/x/Chart.yaml --\nname: x\nversion: 1.0.0",
		"base of a base":       "resources: [b]\n-- web/b/kustomization.yaml --\nresources:\n- " + remote,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, overlay+"namePrefix: x\n"+k+"\n", config.Application{Renderer: "kustomize"})
			var e *render.Error
			if !errors.As(err, &e) || e.File == "" || e.Line == 0 {
				t.Fatalf("error %v has no place", err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "user:") {
				t.Errorf("credentials in %v", err)
			}
			for _, want := range []string{"vendor it", "commit", "only resources can be used", "use helmCharts"} {
				if strings.Contains(err.Error(), want) {
					return
				}
			}
			t.Errorf("error does not say what to do: %v", err)
		})
	}
}

func TestHelmChartsOfKustomize(t *testing.T) {
	const chart = "-- web/charts/x/Chart.yaml --\nname: x\nversion: 1.2.3\n-- web/charts/x/templates/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: {{ .Release.Namespace }}}\n"
	for name, c := range map[string]struct{ files, want string }{
		"version":        {overlay + "\nhelmCharts:\n- {name: x, releaseName: r, version: 2.0.0}\n" + chart, "web/kustomization.yaml:3: helmCharts: chart x: version 2.0.0 is wanted, web/charts/x has 1.2.3"},
		"no release":     {overlay + "helmCharts:\n- {name: x}\n" + chart, "web/kustomization.yaml:2: helmCharts: chart x: releaseName is missing"},
		"name template":  {overlay + "helmCharts:\n- {name: x, nameTemplate: a}\n" + chart, "nameTemplate is not supported"},
		"path as a name": {overlay + "helmCharts:\n- {name: ../x, releaseName: r}\n" + chart, "not the name of a folder"},
		"home above":     {overlay + "helmGlobals: {chartHome: ../../x}\nhelmCharts:\n- {name: x, releaseName: r}\n" + chart, "chartHome leads out of the repository"},
		"not vendored":   {overlay + "helmCharts:\n- {name: other, releaseName: r, repo: https://x.example}\n" + chart, "web/kustomization.yaml:2: helmCharts: chart other is not in the repository; run helm pull --untar --untardir web/charts"},
		"merge":          {overlay + "helmCharts:\n- {name: x, releaseName: r, valuesMerge: x, valuesInline: {a: 1}}\n" + chart, `valuesMerge "x" is none of`},
		"in the chart":   {overlay + "helmCharts:\n- {name: x, releaseName: r}\n" + chart + "b: {{ fail \"no\" }}\n", "web/charts/x/templates/a.yaml:4: execution error"},
		"two namespaces": {overlay + "resources: [a, b]\n-- web/a/kustomization.yaml --\nnamespace: a\nresources: [../../base]\n-- web/b/kustomization.yaml --\nnamespace: b\nresources: [../../base]\n" +
			"-- base/kustomization.yaml --\nhelmGlobals: {chartHome: ../web/charts}\nhelmCharts: [{name: x, releaseName: r}]\n" + chart, "base/kustomization.yaml:2: helmCharts: the charts come out differently for two overlays"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := renderFiles(t, c.files, config.Application{Renderer: "kustomize"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error\n%v, want\n%s", err, c.want)
			}
		})
	}
	t.Run("nothing but an empty chart", func(t *testing.T) {
		out, err := renderFiles(t, overlay+"helmCharts: [{name: e, releaseName: r}]\n-- web/charts/e/Chart.yaml --\nname: e\nversion: 1.0.0\n", config.Application{Renderer: "kustomize", Empty: true})
		if err != nil || len(out.YAML) != 0 {
			t.Errorf("%v, %v", out, err)
		}
	})
}

func TestReproducible(t *testing.T) {
	const head = chartYAML + "-- web/values.yaml --\npassword: given\nlist: [a, b]\nmap: {z: 1, d: 2, x: 3, w: 4, v: 5}\n-- web/templates/a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nx: "
	for _, call := range []string{
		"randAlphaNum 8", "randAlpha 8", "randAscii 8 | b64enc", "randNumeric 8", "randBytes 8", "randInt 1 9", "uuidv4", `shuffle "abc"`,
		"now", "now | unixEpoch", `now | date "2006"`, `now | date "15"`, `date "2006" nil`, `htmlDate ""`, "ago 0", "durationRound now",
		`(genCA "x" 1).Cert | b64enc`, `(genSelfSignedCert "x" nil nil 1).Key | b64enc`, `(genSignedCert "x" nil nil 1 (genCA "y" 1)).Cert | b64enc`,
		`genPrivateKey "ed25519" | b64enc`, `(genCAWithKey "x" 1 (genPrivateKey "rsa")).Cert | b64enc`,
		`htpasswd "a" "b"`, `bcrypt "a"`, `encryptAES "a" "b"`, `tpl "{{ uuidv4 }}" .`,
		`.Values.password | default "" | printf "%s-%s" (randAlphaNum 3)`,
		`ternary (randAlpha 3) "x" (not (lookup "v1" "Secret" "ns" "a"))`,
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, head+"{{ default (randAlpha 3) .Values.password }}\ny: {{ "+call+" }}\n", config.Application{Renderer: "helm"})
			if err == nil || !strings.Contains(err.Error(), "web/templates/a.yaml:5: not reproducible: ") || !strings.Contains(err.Error(), "changes with every render") {
				t.Errorf("error %v", err)
			}
		})
	}
	for call, want := range map[string]string{
		"default (randAlphaNum 12) .Values.password":   "given",
		"randAlphaNum 12 | len":                        "12",
		"randInt 3 4":                                  "3",
		`shuffle "aaa"`:                                "aaa",
		`encryptAES "a" ""`:                            "",
		"keys .Values.map | join \"\"":                 "dvwxz",
		"values .Values.map | join \"\"":               "25431",
		`getHostByName "localhost"`:                    "",
		`date "15:04" 0`:                               "00:00",
		`toDate "2006-01-02" "2020-02-03" | unixEpoch`: "1580688000",
		`dateInZone "15:04" 0 "Local"`:                 "00:00",
		`durationRound "2h10m"`:                        "2h",
		`now | typeOf`:                                 "time.Time",
		`derivePassword 1 "long" "a" "b" "c"`:          "ZuhuVemuJora7*",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			out, err := renderFiles(t, head+"[{{ "+call+" }}]\n", config.Application{Renderer: "helm"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out.YAML), "x: ["+want+"]") && call != `derivePassword 1 "long" "a" "b" "c"` {
				t.Errorf("want %s in\n%s", want, out.YAML)
			}
		})
	}
}

func TestClusterDependent(t *testing.T) {
	const template = "-- web/templates/a.yaml --\n" + object
	for name, c := range map[string]struct {
		files string
		want  bool
	}{
		"no":                 {chartYAML + template, false},
		"template":           {chartYAML + template + "x: {{ .Capabilities.KubeVersion }}\n", true},
		"helper":             {chartYAML + template + "-- web/templates/_h.tpl --\n{{ define \"k\" }}{{ $.Capabilities.KubeVersion }}{{ end }}\n", true},
		"constraint":         {chartYAML + "kubeVersion: '>=1.0'\n" + template, true},
		"subchart":           {chartYAML + template + "-- web/charts/s/Chart.yaml --\nname: s\nversion: 1.0.0\n-- web/charts/s/templates/s.yaml --\n# {{ .Capabilities }}\n", true},
		"disabled":           {chartYAML + "dependencies: [{name: s, version: 1.0.0, condition: s.enabled}]\n" + template + "-- web/values.yaml --\ns: {enabled: false}\n-- web/charts/s/Chart.yaml --\nname: s\nversion: 1.0.0\n-- web/charts/s/templates/s.yaml --\n# {{ .Capabilities }}\n", false},
		"template in values": {chartYAML + template + "-- web/values.yaml --\nx: '{{ .Capabilities }}'\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := renderFiles(t, c.files, config.Application{Renderer: "helm"})
			if err != nil {
				t.Fatal(err)
			}
			if out.ClusterDependent != c.want {
				t.Errorf("ClusterDependent is %v", out.ClusterDependent)
			}
		})
	}
}

// A render ends when its context ends, whatever the templates do.
func TestContext(t *testing.T) {
	const endless = chartYAML + "-- web/templates/_h.tpl --\n{{ define \"x\" }}{{ $n := until 1 }}{{ if lt (len .) 200 }}{{ include \"x\" (append . 1) }}{{ include \"x\" (append . 1) }}{{ end }}{{ end }}\n-- web/templates/a.yaml --\n{{ include \"x\" list }}\n"
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in := render.Input{FS: archive(endless), Application: config.Application{Name: "web", Path: "web", Renderer: "helm"}}
	_, err := render.Render(ctx, in)
	var e *render.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) {
		t.Errorf("error %v", err)
	}
	if _, err = render.Render(ctx, in); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ template, want string }{
		"recursion":     {`{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}`, "nested reference name"},
		"long loop":     {`{{ range until 1000000000 }}{{ end }}`, "loops over more than"},
		"nested loops":  {`{{ range until 4000 }}{{ range until 4000 }}{{ end }}{{ end }}`, "loops over more than"},
		"long sequence": {`{{ seq 0 1 999999999999 }}`, "loops over more than"},
		"long steps":    {`{{ untilStep 9223372036854775800 -9223372036854775800 -1 }}`, "loops over more than"},
		"long text":     {`{{ repeat 1000000000 "abc" }}`, "the limit is"},
		"negative":      {`{{ repeat -1 "abc" }}`, "the limit is"},
		"much output":   {`{{ range until 9 }}{{ repeat 9000000 "#" }}{{ end }}`, "rendered 81000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := renderFiles(t, chartYAML+"-- web/templates/a.yaml --\n"+c.template+"\n", config.Application{Renderer: "helm"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %.300v, want %q", err, c.want)
			}
		})
	}
	t.Run("file in a chart", func(t *testing.T) {
		_, err := renderFiles(t, chartYAML+"-- web/big --\n"+strings.Repeat("x", 6<<20), config.Application{Renderer: "helm"})
		if err == nil || !strings.Contains(err.Error(), "web/big: file of 6291456 bytes in a chart") {
			t.Errorf("error %.300v", err)
		}
	})
	t.Run("file", func(t *testing.T) {
		_, err := renderFiles(t, "-- web/a.yaml --\n"+strings.Repeat("x", 33<<20), config.Application{Renderer: "yaml"})
		if err == nil || !strings.Contains(err.Error(), "the limit is") {
			t.Errorf("error %.300v", err)
		}
	})
	t.Run("folder that holds itself", func(t *testing.T) {
		_, err := renderFiles(t, chartYAML+"-- web/again -> ../web --\n", config.Application{Renderer: "helm"})
		if err == nil || !strings.Contains(err.Error(), "too many levels of symbolic links") {
			t.Errorf("error %.300v", err)
		}
	})
}

// unreadable fails to read one file.
type unreadable struct {
	fstest.MapFS
	file string
}

var errNotFetched = errors.New("not fetched")

func (u unreadable) ReadFile(name string) ([]byte, error) {
	if name == u.file {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errNotFetched}
	}
	return u.MapFS.ReadFile(name)
}

// A file that cannot be read is not a file that is not there.
func TestUnreadable(t *testing.T) {
	for _, c := range goldens(t) {
		fsys := c.input.FS.(fstest.MapFS)
		for file := range maps.Keys(fsys) {
			c.input.FS = unreadable{fsys, file}
			out, err := render.Render(t.Context(), c.input)
			if err != nil && !errors.Is(err, errNotFetched) {
				t.Errorf("%s without %s: %v", c.file, file, err)
			}
			if err == nil && !bytes.Equal(out.YAML, c.want) {
				t.Errorf("%s without %s rendered to something else", c.file, file)
			}
		}
	}
}

// All kinds of renders at the same time give what each gives alone, also
// beside kustomizations that change kustomize's process-wide schema.
func TestParallel(t *testing.T) {
	schema := archive(overlay + `resources: [a.yaml]
openapi: {path: schema.json}
patches: [{path: p.yaml}]
-- web/schema.json --
{"definitions": {"v1.Thing": {"properties": {"spec": {"$ref": "#/definitions/v1.Spec"}}, "x-kubernetes-group-version-kind": [{"group": "shop.example", "kind": "Thing", "version": "v1"}]},
 "v1.Spec": {"properties": {"parts": {"type": "array", "items": {"$ref": "#/definitions/v1.Part"}, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}},
 "v1.Part": {"properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}}}
-- web/a.yaml --
{apiVersion: shop.example/v1, kind: Thing, metadata: {name: t}, spec: {parts: [{name: a, size: 1}, {name: b, size: 2}]}}
-- web/p.yaml --
{apiVersion: shop.example/v1, kind: Thing, metadata: {name: t}, spec: {parts: [{name: b, size: 3}]}}
`)
	plain := maps.Clone(schema)
	plain["web/kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [a.yaml]\npatches: [{path: p.yaml}]\n")}
	cases := goldens(t)
	kustomize := config.Application{Name: "web", Path: "web", Renderer: "kustomize"}
	const head = "apiVersion: shop.example/v1\nkind: Thing\nmetadata:\n  name: t\nspec:\n  parts:\n"
	cases = append(cases,
		goldenCase{input: render.Input{FS: schema, Application: kustomize}, want: []byte(head + "  - name: b\n    size: 3\n  - name: a\n    size: 1\n")},
		goldenCase{input: render.Input{FS: plain, Application: kustomize}, want: []byte(head + "  - name: b\n    size: 3\n")})
	var group sync.WaitGroup
	for range 3 {
		for _, c := range cases {
			group.Go(func() {
				out, err := render.Render(t.Context(), c.input)
				if err != nil {
					t.Errorf("%s: %v", c.file, err)
				} else if !bytes.Equal(out.YAML, c.want) {
					t.Errorf("%s: other bytes beside others:\n%s", c.file, out.YAML)
				}
			})
		}
	}
	group.Wait()
}

func TestVersions(t *testing.T) {
	kustomize, helm := render.Versions()
	for _, v := range []string{kustomize, helm} {
		if v != "unknown" && !strings.HasPrefix(v, "v") {
			t.Errorf("version %q", v)
		}
	}
}

func ExampleOutput_Pin() {
	files := fstest.MapFS{
		"envs/stage/kustomization.yaml": {Data: []byte("resources: [pod.yaml]\nnamespace: shop\n")},
		"envs/stage/pod.yaml":           {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{image: 'web:1.4.0'}]}\n")},
	}
	applications, err := render.Discover(files, config.Environment{Name: "stage", Path: "envs/stage"})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := render.Render(context.Background(), render.Input{FS: files, Application: applications[0]})
	if err != nil {
		fmt.Println(err)
		return
	}
	pinned, err := out.Pin(func(reference string) (string, error) {
		return "stage.registry.example/" + reference + "@sha256:…", nil
	})
	fmt.Print(string(pinned), err)
	// Output:
	// apiVersion: v1
	// kind: Pod
	// metadata:
	//   name: web
	//   namespace: shop
	// spec:
	//   containers:
	//   - image: "stage.registry.example/web:1.4.0@sha256:…"
	// <nil>
}

type panicking struct{ fstest.MapFS }

func (panicking) ReadFile(string) ([]byte, error) { panic("broken object store") }

func TestPanic(t *testing.T) {
	in := render.Input{FS: panicking{archive(chartYAML)}, Application: config.Application{Name: "web", Path: "web", Renderer: "helm"}}
	_, err := render.Render(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "application web: renderer panicked: broken object store at github.com/fleeting-taas/propagator/pkg/render") {
		t.Errorf("error %v", err)
	}
}
