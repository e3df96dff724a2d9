package render_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

func app(name, path, renderer string) config.Application {
	return config.Application{Name: name, Path: path, Renderer: renderer, ReleaseName: name}
}

const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

func TestDiscover(t *testing.T) {
	for name, c := range map[string]struct {
		files       string
		environment config.Environment
		want        []config.Application
		err         string
	}{
		"the path itself is an application": {
			files:       "-- envs/dev/kustomization.yaml --\nresources: [sub]\n-- envs/dev/sub/kustomization.yaml --\nresources: [a.yaml]\n",
			environment: config.Environment{Path: "envs/dev"},
			want:        []config.Application{app("dev", "envs/dev", "kustomize")},
		},
		"one application in each folder, sorted, at any depth": {
			files: "-- envs/dev/web/Kustomization --\n{}\n-- envs/dev/api/Chart.yaml --\nname: api\n-- envs/dev/api/charts/x/Chart.yaml --\nname: x\n" +
				"-- envs/dev/team/jobs/cron.yml --\n" + object + "-- envs/dev/team/jobs/more/x.yaml --\n" + object +
				"-- envs/dev/notes/README.md --\nhello\n-- envs/dev/values/web.yaml --\nreplicas: 1\n-- envs/prod/web/kustomization.yml --\n{}\n",
			environment: config.Environment{Path: "envs/dev"},
			want:        []config.Application{app("api", "envs/dev/api", "helm"), app("jobs", "envs/dev/team/jobs", "yaml"), app("web", "envs/dev/web", "kustomize")},
		},
		"kustomization goes before chart, chart before manifests": {
			files: "-- e/a/kustomization.yaml --\n{}\n-- e/a/Chart.yaml --\nname: a\n-- e/a/x.yaml --\n" + object +
				"-- e/b/Chart.yaml --\nname: b\n-- e/b/x.yaml --\n" + object,
			environment: config.Environment{Path: "e"},
			want:        []config.Application{app("a", "e/a", "kustomize"), app("b", "e/b", "helm")},
		},
		"components, library charts and hidden folders are no applications": {
			files: "-- e/debug/kustomization.yaml --\nkind: Component\n-- e/debug/patches/p.yaml --\n" + object +
				"-- e/lib/Chart.yaml --\nname: lib\ntype: library\n-- e/.propagator/x.yaml --\n" + object +
				"-- e/.git/x.yaml --\n" + object + "-- e/web/x.json --\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n",
			environment: config.Environment{Path: "e"},
			want:        []config.Application{app("web", "e/web", "yaml")},
		},
		"one folder for all": {
			files:       "-- deploy/a.yaml --\n" + object,
			environment: config.Environment{Path: "deploy"},
			want:        []config.Application{app("deploy", "deploy", "yaml")},
		},
		"a broken manifest still makes an application": {
			files:       "-- e/web/a.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: [}\n",
			environment: config.Environment{Path: "e"},
			want:        []config.Application{app("web", "e/web", "yaml")},
		},
		"symlinks are followed, loops are not": {
			files:       "-- shared/web/kustomization.yaml --\n{}\n-- e/web -> ../shared/web --\n-- e/loop -> ../e --\n-- e/self -> self --\n-- e/out -> ../../etc --\n",
			environment: config.Environment{Path: "e"},
			want:        []config.Application{app("web", "e/web", "kustomize")},
		},
		"explicit applications, charts beside values": {
			files: "-- charts/web/Chart.yaml --\nname: web\n-- envs/dev/web.yaml --\na: 1\n-- plain/x.yaml --\n" + object,
			environment: config.Environment{Path: "envs/dev", Applications: []config.Application{
				{Name: "shop", Path: "charts/web", Values: []string{"envs/dev/web.yaml"}, ReleaseName: "shop-dev"},
				{Path: "plain", Renderer: "yaml"},
			}},
			want: []config.Application{
				{Name: "plain", Path: "plain", Renderer: "yaml", ReleaseName: "plain"},
				{Name: "shop", Path: "charts/web", Renderer: "helm", ReleaseName: "shop-dev", Values: []string{"envs/dev/web.yaml"}},
			},
		},
		"no folder": {
			files: "-- a.yaml --\n", environment: config.Environment{Path: "envs/dev"},
			err: "environment dev: no folder envs/dev in the repository",
		},
		"nothing in it": {
			files: "-- envs/dev/README.md --\n", environment: config.Environment{Path: "envs/dev"},
			err: "nothing to render in envs/dev",
		},
		"two of one name": {
			files: "-- e/a/web/kustomization.yaml --\n{}\n-- e/b/web/kustomization.yaml --\n{}\n", environment: config.Environment{Path: "e"},
			err: "e/a/web and e/b/web are both named web; list them",
		},
		"explicit and missing": {
			files: "-- a.yaml --\n", environment: config.Environment{Applications: []config.Application{{Path: "x/web"}}},
			err: "application web: no folder x/web",
		},
		"explicit and not what it says": {
			files: "-- web/x.yaml --\n" + object, environment: config.Environment{Applications: []config.Application{{Path: "web", Renderer: "helm"}}},
			err: "renderer helm, but no Chart.yaml in web",
		},
		"explicit component": {
			files: "-- c/kustomization.yaml --\nkind: Component\n", environment: config.Environment{Applications: []config.Application{{Path: "c"}}},
			err: "application c: nothing to render in c",
		},
		"path out of the repository": {
			files: "-- a.yaml --\n", environment: config.Environment{Applications: []config.Application{{Path: "../other"}}},
			err: "no folder ../other",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.environment.Name = "dev"
			got, err := render.Discover(archive(c.files), c.environment)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("applications (-want +got):\n%s", diff)
			}
		})
	}
}
