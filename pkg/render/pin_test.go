package render_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000001"

func pinDigest(r string) (string, error) { return r + digest, nil }

func pod(image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n    image: " + image + "\n"
}

// Input and output side by side; D stands for the digest.
func TestPin(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain, with comments": {
			"# head\n---\n# Source: x\n" + pod("nginx # why") + "---\n# end\n",
			"# head\n---\n# Source: x\n" + pod("nginxD # why") + "---\n# end\n",
		},
		"quotes stay":           {pod(`"a/b:1"`) + "---\n" + pod(`'a/b:1'`), pod(`"a/b:1D"`) + "---\n" + pod(`'a/b:1D'`)},
		"escapes":               {pod(`"a\x2fb:1"`), pod(`"a/b:1D"`)},
		"flow and several":      {pod("x\n  - {name: b, image: y, args: [image]}\n  initContainers: [{image: z}, {name: none}]"), pod("xD\n  - {name: b, image: yD, args: [image]}\n  initContainers: [{image: zD}, {name: none}]")},
		"JSON":                  {`{"apiVersion":"v1","kind":"Pod","spec":{"ephemeralContainers":[{"image":"a:1"}]}}`, `{"apiVersion":"v1","kind":"Pod","spec":{"ephemeralContainers":[{"image":"a:1D"}]}}`},
		"CRLF":                  {strings.ReplaceAll(pod("a")+"---\n"+pod("b"), "\n", "\r\n"), strings.ReplaceAll(pod("aD")+"---\n"+pod("bD"), "\n", "\r\n")},
		"byte order mark":       {"\ufeff" + pod("a"), "\ufeff" + pod("aD")},
		"characters before it":  {pod("a\n  - {name: 'ä\u2028ö€😀', image: b}"), pod("aD\n  - {name: 'ä\u2028ö€😀', image: bD}")},
		"same line as ---":      {"--- {apiVersion: v1, kind: Pod, spec: {containers: [{image: a}]}}\n", "--- {apiVersion: v1, kind: Pod, spec: {containers: [{image: aD}]}}\n"},
		"other things stay":     {pod("a\n    env: [{name: IMAGE, value: a}]\n  image: a"), pod("aD\n    env: [{name: IMAGE, value: a}]\n  image: a")},
		"no newline at the end": {strings.TrimSuffix(pod("a"), "\n"), strings.TrimSuffix(pod("aD"), "\n")},
		"text in a ConfigMap": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    ---\n    containers:\n    - image: a\n",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    ---\n    containers:\n    - image: a\n",
		},
		"anchor elsewhere in the document": {
			pod("a\n    env: &e [{name: x}]\n  - {name: b, image: c, env: *e}"),
			pod("aD\n    env: &e [{name: x}]\n  - {name: b, image: cD, env: *e}"),
		},
		"block scalar": {pod(">-\n      a/b:1"), "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: a\n      image: a/b:1D\n"},
		"anchored image": {
			pod("&i a\n  - {name: b, image: *i}"),
			"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: a\n      image: aD\n    - {name: b, image: 'aD'}\n",
		},
		"merged container, only that document anew": {
			pod("x") + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nx: &base {image: a, name: n}\nspec:\n   containers:\n   - <<: *base\n     name: m\n---\n" + pod("'y'"),
			pod("xD") + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nx: {image: 'aD', name: n}\nspec:\n  containers:\n    - name: m\n      image: aD\n---\n" + pod("'yD'"),
		},
		"tagged": {pod("!!str a"), "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: a\n      image: aD\n"},
		"nested templates, lists and volumes": {
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: CronJob\n  spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: a}], volumes: [{name: v, image: {reference: b}}]}}}}}\n",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: CronJob\n  spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: aD}], volumes: [{name: v, image: {reference: bD}}]}}}}}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := render.Parse([]byte(c.in), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := out.Pin(pinDigest)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(c.want, "D", digest), string(got)); diff != "" {
				t.Errorf("pinned (-want +got):\n%s", diff)
			}
			if got, err = out.Pin(func(r string) (string, error) { return r, nil }); err != nil || string(got) != c.in {
				t.Errorf("pinned to themselves: %v\n%s", err, got)
			}
		})
	}
}

func TestPinErrors(t *testing.T) {
	out, err := render.Parse([]byte(object+"---\n"+pod("a")), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("a is not in the lock")
	_, err = out.Pin(func(string) (string, error) { return "", refused })
	if !errors.Is(err, refused) || err.Error() != "Pod/p: a is not in the lock" {
		t.Errorf("error %v", err)
	}
	for name, to := range map[string]string{"quotes": `a"b'c`, "comment": "a #b", "number": "12", "newline": "a\nb", "empty": "", "colon": "a: b", "flow": "a, b]", "alias": "*a", "null": "null"} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []string{pod("a"), pod("'a'"), pod(`"a"`), `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"a"}]}}`} {
				out, err := render.Parse([]byte(in), nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := out.Pin(func(string) (string, error) { return to, nil })
				if err != nil {
					t.Fatal(err)
				}
				pinned, err := render.Parse(got, nil)
				if err != nil {
					t.Fatal(err)
				}
				if images, err := pinned.Images(); to != "" && (err != nil || len(images) != 1 || images[0].Reference != to) {
					t.Errorf("images %v, %v in %s", images, err, got)
				}
			}
		})
	}
}

func TestImages(t *testing.T) {
	const text = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  template:
    spec:
      initContainers: [{image: first}]
      containers: [{image: second}, {image: first}]
---
apiVersion: shop.example/v1
kind: Thing
metadata: {generateName: thing-}
spec:
  sidecars: [{image: side}, {name: none}]
  images: [one, two]
  containers: [{image: {repository: x}}]
---
apiVersion: other.example/v1
kind: Thing
metadata: {name: other}
spec: {sidecars: [{image: side}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: c}
spec: {x: {containers: [{image: schema}]}}
---
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: k}
spec: {rules: [{validate: {pattern: {spec: {containers: [{image: "!*:latest"}]}}}}]}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: fn}
spec: {template: {spec: {containers: [{image: fn}]}}}
`
	out, err := render.Parse([]byte(text), []config.ImagePath{
		{Kind: "Thing", Group: "shop.example", Path: "spec.sidecars[].image"},
		{Kind: "Thing", Group: "shop.example", Path: "spec.images[]"},
		{Kind: "Rollout", Path: "spec.template.spec.containers[].image"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := out.Images()
	if err != nil {
		t.Fatal(err)
	}
	want := []render.Image{
		{Reference: "first", Object: "Rollout/web"},
		{Reference: "second", Object: "Rollout/web"},
		{Reference: "side", Object: "Thing/thing-"},
		{Reference: "one", Object: "Thing/thing-"},
		{Reference: "two", Object: "Thing/thing-"},
		{Reference: "fn", Object: "Service/fn"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	for image, want := range map[string]string{
		`""`: "Pod/p: an image is empty (line 7", "": "Pod/p: an image is empty", "' '": "is empty", "~": "is empty", "12": "Pod/p: image 12 is not a string; quote it",
	} {
		out, err := render.Parse([]byte(pod(image)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = out.Images(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("image %q: error %v, want %q", image, err, want)
		}
	}
}

func TestDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
		err  string
	}{
		"empty":                 {in: "", want: []string{}},
		"comments and null":     {in: "# x\n---\n---\nnull\n---\n~\n---\n# y\n...\n", want: []string{}},
		"two":                   {in: object + "---\n" + object, want: []string{object, object}},
		"comments stay":         {in: "---\n# about\n" + object + "# after\n--- # next\n" + object, want: []string{"# about\n" + object + "# after\n", " # next\n" + object}},
		"separator in a scalar": {in: object + "data:\n  x: |\n    a\n    ---\n    b\n  y: \"c\n    ---\n    d\"\n", want: []string{object + "data:\n  x: |\n    a\n    ---\n    b\n  y: \"c\n    ---\n    d\"\n"}},
		"CRLF":                  {in: "---\r\na: 1\r\napiVersion: v1\r\nkind: A\r\n---\r\n", want: []string{"a: 1\r\napiVersion: v1\r\nkind: A\r\n"}},
		"end marker":            {in: object + "...\n" + object, want: []string{object, object}},
		"directives":            {in: "%YAML 1.1\n---\n" + object + "---\n" + object, want: []string{"%YAML 1.1\n---\n" + object, object}},
		"byte order mark":       {in: "\ufeff" + object, want: []string{object}},
		"list stays":            {in: "apiVersion: v1\nkind: List\nitems: []\n", want: []string{"apiVersion: v1\nkind: List\nitems: []\n"}},
		"no object":             {in: object + "---\na: 1\n", err: "line 5: not an object with apiVersion and kind"},
		"no kind":               {in: "apiVersion: v1\nkind:\n", err: "line 1: not an object"},
		"text":                  {in: object + "---\n\n\nhello\n", err: "line 7: not an object"},
		"broken":                {in: object + "---\na: b: c\n", err: "line 5: invalid YAML: mapping values are not allowed"},
		"glued separator":       {in: object + "---kind: x\n", err: "line 4: text directly after a document separator"},
		// A reader that splits at "\n---" would find a Pod that YAML has inside a string.
		"hidden in a string":   {in: "apiVersion: v1\nkind: A\nx: \"\n---x\napiVersion: v1\nkind: Pod\ny: \"\n", err: "line 4: text directly after"},
		"other line separator": {in: "apiVersion: v1\nkind: A\r---\rapiVersion: v1\rkind: Pod\r", err: "document separator"},
		"endless alias":        {in: "apiVersion: v1\nkind: A\na: &a [*a]\n", err: "contains itself"},
		"alias bomb":           {in: "apiVersion: v1\nkind: A\n" + bomb(), err: "once its aliases are expanded"},
		"merge that hides":     {in: "apiVersion: v1\nkind: Pod\nx: &b {image: evil}\nspec: {containers: [{image: good, <<: *b}]}\n", err: "line 4: merge key (<<) after image"},
		"two merges":           {in: "apiVersion: v1\nkind: Pod\nx: &b {image: evil}\nspec:\n  <<: *b\n  <<: *b\n", err: "line 6: two merge keys"},
		"binary key":           {in: "apiVersion: v1\nkind: Pod\nspec: {containers: [{!!binary aW1hZ2U=: evil}]}\n", err: "line 3: binary map key"},
		"endless merge":        {in: "apiVersion: v1\nkind: Pod\na: &a\n  <<: *a\n  b: 1\n", err: "contains itself"},
		"deep":                 {in: "apiVersion: v1\nkind: A\na: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), err: "nests deeper"},
		"deeper than YAML":     {in: "apiVersion: v1\nkind: A\na: " + strings.Repeat("{a: ", 100_000), err: "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render.Documents([]byte(c.in))
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
				t.Errorf("documents (-want +got):\n%s", diff)
			}
		})
	}
}

// bomb is YAML that grows to 10^9 values.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := range 9 {
		n, m := string(rune('0'+i)), string(rune('1'+i))
		b.WriteString("a" + m + ": &a" + m + " [" + strings.TrimSuffix(strings.Repeat("*a"+n+",", 10), ",") + "]\n")
	}
	return b.String()
}

func seeds(f *testing.F) {
	for _, c := range goldens(f) {
		f.Add(c.want)
	}
	f.Add([]byte("\ufeff%YAML 1.1\n---\n" + object + "--- {apiVersion: v1, kind: A}\n...\n" + strings.ReplaceAll(object, "\n", "\r\n")))
	f.Add([]byte(pod("&i !!str \"a\\\n  b\"\n  - {image: *i, <<: {image: ' '}}")))
	f.Add([]byte(pod("|\n      ä\u2028b\n    ports: [\t]")))
}

// What Documents gives can be put together and split again.
func FuzzDocuments(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		documents, err := render.Documents(text)
		if err != nil {
			return
		}
		var joined bytes.Buffer
		for i, d := range documents {
			if !strings.HasPrefix(d, "%") {
				joined.WriteString("---\n")
			} else if i > 0 {
				joined.WriteString("...\n")
			}
			joined.WriteString(strings.TrimSuffix(d, "\n") + "\n")
		}
		again, err := render.Documents(joined.Bytes())
		if err != nil || len(again) != len(documents) {
			t.Fatalf("%d documents, joined %d: %v\n%q\n%q", len(documents), len(again), err, documents, joined.String())
		}
	})
}

// Pinning to the same references changes nothing; pinning to others changes
// all references and no object.
func FuzzPin(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := render.Parse(text, []config.ImagePath{{Kind: "A", Path: "spec.sidecars[].image"}})
		if err != nil {
			return
		}
		before, err := out.Images()
		if err != nil {
			return
		}
		same, err := out.Pin(func(r string) (string, error) { return r, nil })
		if err != nil || !bytes.Equal(same, text) {
			t.Fatalf("identity: %v\n%q\n%q", err, text, same)
		}
		pinned, err := out.Pin(func(string) (string, error) { return "registry.example/x" + digest, nil })
		if err != nil {
			return // refusing is safe
		}
		after, err := render.Parse(pinned, nil)
		if err != nil {
			t.Fatalf("pinned text: %v\n%q\n%q", err, text, pinned)
		}
		images, err := after.Images()
		if err != nil || len(images) > len(before) {
			t.Fatalf("%d images, then %d: %v", len(before), len(images), err)
		}
		for _, image := range images {
			if image.Reference != "registry.example/x"+digest {
				t.Fatalf("not pinned: %v\n%q\n%q", image, text, pinned)
			}
		}
	})
}
