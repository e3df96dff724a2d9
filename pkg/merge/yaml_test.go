package merge_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/merge"
)

const kustomization = `# What production runs.
resources:
- ../../base
images:
- name: shop/web    # the shop window
  newTag: 1.4.0
- name: shop/pay
  newTag: 2.0.0
- name: shop/cart
  newTag: "3.1"
replicas: 2
`

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 2 # enough
  template:
    spec:
      containers:
        - name: web
          image: shop/web:1.4.0
          args: [--verbose, --port=80]
          env:
            # How long we wait.
            - name: TIMEOUT
              value: 10s
            - name: RETRIES
              value: "3"
        - name: pay
          image: shop/pay:2.0.0
      volumes: []
---
apiVersion: v1
kind: Service
metadata:
  name: shop
spec:
  ports:
  - port: 80
  - port: 443
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: shop
data:
  a.conf: |
    one
    two
    three
    four
    five
  b: "1"
`

// edit makes replacements, old to new, each of which must be possible.
func edit(t testing.TB, text string, replacements ...string) string {
	t.Helper()
	for i := 0; i < len(replacements); i += 2 {
		if strings.Count(text, replacements[i]) != 1 {
			t.Fatalf("%q is there %d times", replacements[i], strings.Count(text, replacements[i]))
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	return text
}

func TestYAML(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base         string   // default kustomization
		ours, theirs []string // replacements in base
		want         []string // replacements in base
		conflict     string   // part of the only conflict
	}{
		"neighbouring image tags": {
			ours:   []string{"1.4.0", "1.5.0"},
			theirs: []string{"- name: shop/pay\n  newTag: 2.0.0", "- name: shop/pay\n  newTag: 2.0.1 # the fix", "the shop window", "the window"},
			want:   []string{"1.4.0", "1.5.0", "newTag: 2.0.0", "newTag: 2.0.1 # the fix"},
		},
		"neighbouring lines": {
			base:   "web:   1.4.0  # web\npay:   2.0.0  # pay\ncart: 3\n",
			ours:   []string{"1.4.0", "1.5.0"},
			theirs: []string{"2.0.0", "2.0.1", "# pay", "# PAY"},
			want:   []string{"1.4.0", "1.5.0", "2.0.0", "2.0.1"},
		},
		"the comments of theirs come where lines merge": {
			ours:   []string{"3.1", "3.2"},
			theirs: []string{"replicas: 2", "replicas: 3 # more", "What production runs.", "What prod runs."},
			want:   []string{"3.1", "3.2", "replicas: 2", "replicas: 3", "What production runs.", "What prod runs."},
		},
		"quotes come with the value": {
			ours: []string{`newTag: "3.1"`, `newTag: "3.2"`}, theirs: []string{"replicas: 2", `replicas: "2"`},
			want: []string{`newTag: "3.1"`, `newTag: "3.2"`, "replicas: 2", `replicas: "2"`},
		},
		"key added beside a changed value": {
			ours:   []string{"newTag: 2.0.0", "newTag: 2.1.0"},
			theirs: []string{"newTag: 2.0.0", "newTag: 2.0.0\n  # Its own registry.\n  newName: registry/pay"},
			want:   []string{"newTag: 2.0.0", "newTag: 2.1.0\n  # Its own registry.\n  newName: registry/pay"},
		},
		"image added by both": {
			ours: []string{"replicas", "- name: a\n  newTag: 1\nreplicas"}, theirs: []string{"replicas", "- name: b\n  newTag: 2\nreplicas"},
			want: []string{"replicas", "- name: a\n  newTag: 1\n- name: b\n  newTag: 2\nreplicas"},
		},
		"image removed beside a changed one": {
			ours:   []string{"newTag: 2.0.0", "newTag: 2.1.0"},
			theirs: []string{"- name: shop/cart\n  newTag: \"3.1\"\n", ""},
			want:   []string{"newTag: 2.0.0", "newTag: 2.1.0", "- name: shop/cart\n  newTag: \"3.1\"\n", ""},
		},
		"resource added by both": {
			ours: []string{"- ../../base\n", "- ../../base\n- a.yaml\n"}, theirs: []string{"- ../../base\n", "- ../../base\n- b.yaml\n"},
			want: []string{"- ../../base\n", "- ../../base\n- a.yaml\n- b.yaml\n"},
		},
		"resource replaced by both": {
			ours: []string{"../../base", "a.yaml"}, theirs: []string{"../../base", "b.yaml"},
			conflict: `f.yaml: resources[b.yaml]: shop/v1.4.0 and hotfix/pay added to the list at the same place, and its order may matter:`,
		},
		"the same value": {
			ours: []string{"1.4.0", "1.4.1"}, theirs: []string{"1.4.0", "1.4.2"},
			conflict: `f.yaml: images[name=shop/web].newTag: both sides changed it: shop/v1.4.0, line 6: "newTag: 1.4.1"; hotfix/pay, line 6: "newTag: 1.4.2"`,
		},
		"another type is another value": {
			ours: []string{"replicas: 2", `replicas: "2"`}, theirs: []string{"replicas: 2", "replicas: 3"},
			conflict: `f.yaml: replicas: both sides changed it: `,
		},
		"removed and changed": {
			ours:     []string{"- name: shop/pay\n  newTag: 2.0.0\n", ""},
			theirs:   []string{"newTag: 2.0.0", "newTag: 2.0.1"},
			conflict: "f.yaml: images[name=shop/pay]: shop/v1.4.0 removed it, hotfix/pay changed it: ",
		},
		"changed and removed": {
			ours:     []string{"newTag: 2.0.0", "newTag: 2.0.1"},
			theirs:   []string{"- name: shop/pay\n  newTag: 2.0.0\n", ""},
			conflict: "f.yaml: images[name=shop/pay]: hotfix/pay removed it, shop/v1.4.0 changed it: ",
		},
		"moved and changed": {
			ours:   []string{"- name: shop/cart\n  newTag: \"3.1\"\n", "", "images:\n", "images:\n- name: shop/cart\n  newTag: \"3.1\"\n"},
			theirs: []string{"1.4.0", "1.4.1"},
			want:   []string{"- name: shop/cart\n  newTag: \"3.1\"\n", "", "images:\n", "images:\n- name: shop/cart\n  newTag: \"3.1\"\n", "1.4.0", "1.4.1"},
		},
		"not YAML any more": {
			ours: []string{"newTag: 2.0.0", "newTag: {{ .tag }}"}, theirs: []string{"newTag: 2.0.0", "newTag: 2.0.1"},
			conflict: "f.yaml: not merged as YAML: ",
		},
		"deep in a Deployment": {
			base: deployment,
			ours: []string{"shop/web:1.4.0", "shop/web:1.5.0", `"3"`, `"5"`},
			theirs: []string{
				"args: [--verbose, --port=80]", "args: [--quiet]", "value: 10s", "value: 30s", "image: shop/pay:2.0.0", "image: shop/pay:2.0.1\n          tty: true",
				"volumes: []", "volumes:\n      - name: tmp\n        emptyDir: {}",
			},
			want: []string{
				"shop/web:1.4.0", "shop/web:1.5.0", `"3"`, `"5"`, "args: [--verbose, --port=80]", "args: [--quiet]", "value: 10s", "value: 30s",
				"image: shop/pay:2.0.0", "image: shop/pay:2.0.1\n          tty: true", "volumes: []", "volumes:\n      - name: tmp\n        emptyDir: {}",
			},
		},
		"variables added by both, with other indentation": {
			base: deployment,
			ours: []string{"        - name: pay\n", "            - name: OURS\n              value: a\n        - name: pay\n"},
			theirs: []string{
				"          env:\n            # How long we wait.\n            - name: TIMEOUT\n              value: 10s\n            - name: RETRIES\n              value: \"3\"\n",
				"          env:\n          # How long we wait.\n          - name: TIMEOUT\n            value: 10s\n          - name: RETRIES\n            value: \"3\"\n          - name: THEIRS\n            value: |\n              x\n               y\n",
			},
			want: []string{"        - name: pay\n", "            - name: OURS\n              value: a\n            - name: THEIRS\n              value: |\n                x\n                 y\n        - name: pay\n"},
		},
		"arguments changed by both": {
			base: deployment,
			ours: []string{"args: [--verbose, --port=80]", "args: [--verbose, --port=81]"}, theirs: []string{"args: [--verbose, --port=80]", "args: [--verbose, --port=82]"},
			conflict: `f.yaml: Deployment/shop: spec.template.spec.containers[name=web].args[--port=82]: `,
		},
		"document under another name": {
			base: deployment,
			ours: []string{"name: shop, labels: {app: shop}", "name: shop, labels: {app: web}"}, theirs: []string{"replicas: 2", "replicas: 3", "kind: Deployment\nmetadata: {name: shop, labels", "kind: Deployment\nmetadata: {namespace: x, name: shop, labels"},
			conflict: "f.yaml: Deployment/shop: hotfix/pay removed the document, shop/v1.4.0 changed it: ",
		},
		"documents added by both": {
			base:   deployment,
			ours:   []string{"  b: \"1\"\n", "  b: \"1\"\n---\nkind: A\nmetadata: {name: a}\n"},
			theirs: []string{"  b: \"1\"\n", "  b: \"1\"\n---\n# B\nkind: B\nmetadata: {name: b}\n"},
			want:   []string{"  b: \"1\"\n", "  b: \"1\"\n---\n# B\nkind: B\nmetadata: {name: b}\n---\nkind: A\nmetadata: {name: a}\n"},
		},
		"document removed beside a change": {
			base:   deployment,
			ours:   []string{"volumes: []", "volumes: [{name: tmp}]"},
			theirs: []string{"---\napiVersion: v1\nkind: Service\nmetadata:\n  name: shop\nspec:\n  ports:\n  - port: 80\n  - port: 443\n", "", "volumes: []", "volumes: []\n      tty: true"},
			want: []string{
				"---\napiVersion: v1\nkind: Service\nmetadata:\n  name: shop\nspec:\n  ports:\n  - port: 80\n  - port: 443\n", "",
				"volumes: []", "volumes: [{name: tmp}]\n      tty: true",
			},
		},
		"text in a value": {
			base: deployment,
			ours: []string{"    one\n", "    ONE\n", `b: "1"`, `b: "2"`}, theirs: []string{"    five\n", "    FIVE\n"},
			want: []string{"    one\n", "    ONE\n", `b: "1"`, `b: "2"`, "    five\n", "    FIVE\n"},
		},
		"anchors": {
			base: "a: &x\n  b: 1\n  c: 2\nd: *x\n", ours: []string{"b: 1", "b: 2"}, theirs: []string{"c: 2", "c: 3"},
			conflict: "f.yaml: a: anchors, aliases and merge keys are not merged: ",
		},
		"merge keys": {
			base: "x: &x {p: 1}\na:\n  <<: *x\n  b: 1\n  c: 2\n", ours: []string{"b: 1", "b: 2"}, theirs: []string{"c: 2", "c: 3"},
			conflict: "f.yaml: a: anchors, aliases and merge keys are not merged: ",
		},
		"anchors elsewhere": {
			base: "x: &x {p: 1}\ny: *x\na:\n  b: 1\n  c: 2\n", ours: []string{"b: 1", "b: 2"}, theirs: []string{"c: 2", "c: 3"},
			want: []string{"b: 1", "b: 2", "c: 2", "c: 3"},
		},
		"a key twice": {
			base: "a: 1\na: 2\nb: 1\n", ours: []string{"a: 2", "a: 3"}, theirs: []string{"b: 1", "b: 2"},
			conflict: "f.yaml: not merged as YAML: ",
		},
		"without a last newline": {
			base: "a: 1\nb: 2", ours: []string{"a: 1", "a: 2"}, theirs: []string{"b: 2", "b: 3\nc: 4"}, want: []string{"a: 1", "a: 2", "b: 2", "b: 3\nc: 4"},
		},
		"wide characters before a value": {
			base: "{ü: 1, 日本: 2, c: 3}\n", ours: []string{"ü: 1", "ü: 2"}, theirs: []string{"日本: 2", "日本: 3"}, want: []string{"ü: 1", "ü: 2", "日本: 2", "日本: 3"},
		},
		"the first key of an item goes": {
			base: "l:\n- name: a\n  x: 1\n  y: 2\n", ours: []string{"y: 2", "y: 3"}, theirs: []string{"- name: a\n  x: 1", "- x: 1"},
			conflict: "f.yaml: l: the items of the list have nothing that tells them apart: ",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := tt.base
			if base == "" {
				base = kustomization
			}
			ours, theirs := edit(t, base, tt.ours...), edit(t, base, tt.theirs...)
			want := ours
			if tt.conflict == "" {
				want = edit(t, base, tt.want...)
			}
			for _, end := range []string{"\n", "\r\n"} {
				s := newStore()
				tree := func(text string) files { return files{"f.yaml": strings.ReplaceAll(text, "\n", end)} }
				r := s.merged(t, s.tree(t, tree(base)), s.tree(t, tree(ours)), s.tree(t, tree(theirs)), merge.Options{Ours: "shop/v1.4.0", Theirs: "hotfix/pay"})
				if diff := cmp.Diff(tree(want), s.read(t, r.Tree)); diff != "" {
					t.Errorf("line end %q: merged (-want +got):\n%s", end, diff)
				}
				got := strings.Join(stringsOf(r.Conflicts), "\n")
				if tt.conflict == "" && got != "" || tt.conflict != "" && (len(r.Conflicts) != 1 || !strings.HasPrefix(got, tt.conflict)) {
					t.Errorf("line end %q: conflicts %s\nwant %s", end, got, tt.conflict)
				}
			}
		})
	}
}
