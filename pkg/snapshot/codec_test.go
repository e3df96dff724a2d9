package snapshot

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	sourceCommit = "3f2a9c4100000000000000000000000000000001"
	ordersDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	redisDigest  = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	renderHash   = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
)

// lockText is a whole lock as Encode writes it.
const lockText = `# Written by Propagator. Every image of this snapshot, frozen; do not edit.
apiVersion: propagator/v1alpha1
kind: Snapshot
version: shop/v1.4.0
source:
  repository: https://git.example/shop.git
  branch: main
  commit: 3f2a9c4100000000000000000000000000000001
images:
  - requested: dev.example/shop/orders:v1
    digest: sha256:1111111111111111111111111111111111111111111111111111111111111111
    mediaType: application/vnd.oci.image.index.v1+json
    size: 856
    platforms:
      - linux/amd64
      - linux/arm64
    origin:
      source: https://git.example/orders.git
      revision: 4d5e6f
    usedBy:
      - dev/orders
      - prod/orders
  - requested: redis:7.4@sha256:2222222222222222222222222222222222222222222222222222222222222222
    digest: sha256:2222222222222222222222222222222222222222222222222222222222222222
    mediaType: application/vnd.oci.image.manifest.v1+json
    size: 528
    usedBy:
      - prod/jobs
renders:
  - environment: prod
    application: jobs
    path: envs/prod/jobs
    sha256: sha256:3333333333333333333333333333333333333333333333333333333333333333
    clusterDependent: true
  - environment: prod
    application: orders
    path: envs/prod/orders
    sha256: sha256:3333333333333333333333333333333333333333333333333333333333333333
    empty: true
tools:
  kustomize: v5.7.1
  helm: v3.18.4
`

func lock() *Lock {
	return &Lock{
		APIVersion: LockAPIVersion, Kind: LockKind, Version: Version{"shop", 1, 4, 0},
		Source: Source{Repository: "https://git.example/shop.git", Branch: "main", Commit: sourceCommit},
		Images: []Image{
			{
				Requested: "dev.example/shop/orders:v1", Digest: ordersDigest, MediaType: "application/vnd.oci.image.index.v1+json", Size: 856,
				Platforms: []string{"linux/amd64", "linux/arm64"}, Origin: &Origin{"https://git.example/orders.git", "4d5e6f"},
				UsedBy: []string{"dev/orders", "prod/orders"},
			},
			{
				Requested: "redis:7.4@" + redisDigest, Digest: redisDigest, MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 528,
				UsedBy: []string{"prod/jobs"},
			},
		},
		Renders: []Render{
			{Environment: "prod", Application: "jobs", Path: "envs/prod/jobs", SHA256: renderHash, ClusterDependent: true},
			{Environment: "prod", Application: "orders", Path: "envs/prod/orders", SHA256: renderHash, Empty: true},
		},
		Tools: Tools{Kustomize: "v5.7.1", Helm: "v3.18.4"},
	}
}

func mustEncode(t testing.TB, l *Lock) []byte {
	t.Helper()
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLockText(t *testing.T) {
	if diff := cmp.Diff(lockText, string(mustEncode(t, lock()))); diff != "" {
		t.Errorf("Encode (-want +got):\n%s", diff)
	}
	parsed, err := ParseLock([]byte(lockText))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lock(), parsed); diff != "" {
		t.Errorf("ParseLock (-want +got):\n%s", diff)
	}
}

// TestParseLockFaults replaces one piece of a good lock and expects exactly
// these faults.
func TestParseLockFaults(t *testing.T) {
	at := func(lines ...string) string {
		for i, line := range lines {
			lines[i] = LockFile + line
		}
		return strings.Join(lines, "\n")
	}
	for _, test := range []struct {
		name, old, new, want string
	}{
		{
			"tag where a digest belongs", "digest: " + ordersDigest, "digest: v1",
			at(`:11: images[0].digest: "v1" is a tag or malformed; a lock holds digests only (sha256:…)`),
		},
		{
			"digest in capitals", "digest: " + ordersDigest, "digest: SHA256:" + strings.Repeat("A", 64),
			at(`:11: images[0].digest: "SHA256:` + strings.Repeat("A", 64) + `" is a tag or malformed; a lock holds digests only (sha256:…)`),
		},
		{
			"digest missing", "    digest: " + ordersDigest + "\n", "",
			at(`:10: images[0].digest: "" is a tag or malformed; a lock holds digests only (sha256:…)`),
		},
		{
			"manifests ask for another digest", "    digest: " + redisDigest, "    digest: " + ordersDigest,
			at(`:24: images[1].digest: ` + ordersDigest + ` contradicts the digest that the manifests ask for, ` + redisDigest),
		},
		{
			"doubled image", "requested: redis:7.4@" + redisDigest, "requested: dev.example/shop/orders:v1",
			at(`:23: images[1].requested: dev.example/shop/orders:v1 is already images[0]`),
		},
		{
			"image without a name", "requested: dev.example/shop/orders:v1", `requested: ""`,
			at(`:10: images[0].requested: missing`),
		},
		{
			"unknown field", "    size: 856", "    size: 856\n    tag: v1",
			at(`:14: field tag not found`),
		},
		{
			"text for a number", "size: 856", "size: big",
			at(":13: cannot unmarshal !!str `big` into int64"),
		},
		{
			"field twice", "branch: main", "branch: main\n  branch: other",
			at(`:8: mapping key "branch" already defined at line 7`),
		},
		{
			"wrong kind", "kind: Snapshot", "kind: Pipeline",
			at(`:3: kind: is propagator/v1alpha1 "Pipeline", not propagator/v1alpha1 "Snapshot"`),
		},
		{
			"later apiVersion", "v1alpha1", "v2",
			at(`:3: kind: is propagator/v2 "Snapshot", not propagator/v1alpha1 "Snapshot"`),
		},
		{
			"no version", "version: shop/v1.4.0\n", "",
			at(`:2: version: missing`),
		},
		{
			"version of another form", "shop/v1.4.0", "1.4.0",
			at(`: "1.4.0" is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0`),
		},
		{
			"short commit id", "commit: " + sourceCommit, "commit: 3f2a9c4",
			at(`:8: source.commit: "3f2a9c4" is not a full commit id`),
		},
		{
			"usedBy without application", "- dev/orders", "- dev",
			at(`:21: images[0].usedBy[0]: "dev" is not environment/application`),
		},
		{
			"usedBy without environment", "- dev/orders", "- /orders",
			at(`:21: images[0].usedBy[0]: "/orders" is not environment/application`),
		},
		{
			"usedBy a map", "      - dev/orders\n      - prod/orders\n", "      dev: orders\n",
			at(`:21: cannot unmarshal !!map into []string`),
		},
		{
			"render twice", "application: jobs", "application: orders",
			at(`:35: renders[1]: "prod/orders" is incomplete or doubled`),
		},
		{
			"render of nothing", "application: jobs", `application: ""`,
			at(`:30: renders[0]: "prod/" is incomplete or doubled`),
		},
		{
			"render outside the repository", "path: envs/prod/jobs", "path: ../prod/jobs",
			at(`:32: renders[0].path: "../prod/jobs" is not a folder of the repository (a relative path with slashes, without dots)`),
		},
		{
			"render nowhere", "path: envs/prod/jobs", `path: ""`,
			at(`:32: renders[0].path: "" is not a folder of the repository (a relative path with slashes, without dots)`),
		},
		{
			"render without hash", "    sha256: " + renderHash + "\n    empty: true\n", "",
			at(`:35: renders[1].sha256: "" is not a sha256 hash (sha256:…)`),
		},
		{"two documents", "tools:", "---\ntools:", at(`: holds more than one document`)},
		{"not YAML", "branch: main", "branch: main: main", at(`:7: mapping values are not allowed in this context`)},
		{"empty", lockText, "", at(`: is empty`)},
		{"comment only", lockText, "# nothing\n", at(`: is empty`)},
		{"a list", lockText, "- a\n", at(`:1: cannot unmarshal !!seq`)},
		{"too large", "tools:", strings.Repeat("#", maxLock) + "\ntools:", at(`: larger than 8 MiB`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(lockText, test.old, test.new, 1)
			if text == lockText {
				t.Fatal("the test changes nothing")
			}
			l, err := ParseLock([]byte(text))
			if err == nil || l != nil {
				t.Fatalf("lock %v, error %v", l, err)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseLockReportsAll(t *testing.T) {
	text := strings.NewReplacer("kind: Snapshot", "kind: X", ordersDigest, "v1", "prod/jobs", "prod", renderHash, "x").Replace(lockText)
	_, err := ParseLock([]byte(text))
	if err == nil || len(strings.Split(err.Error(), "\n")) != 5 {
		t.Errorf("want five faults, each on its line:\n%v", err)
	}
}

// hostile strings are those that YAML likes to take for something else, and
// bytes that have no business in a reference.
var hostile = []string{
	"", "a", "no", "~", "null", "1e5", "0x1F", "2026-03-01", ": ", "- x", "#", "a: b", "|", ">-", "&a", "*a", "!!int 1", "'", `"`, "%", "@", "`",
	"line\nline", "tab\t", "\r", "\x00", "\x1b[31m", "\ufeff", "\u2028", "\u202e", "ä", "\xff\xfe", " leading", "trailing ", strings.Repeat("long ", 50),
}

func randomLock(r *rand.Rand) *Lock {
	odd := func() string { return hostile[r.IntN(len(hostile))] + hostile[r.IntN(len(hostile))] }
	hex := func(n int) string {
		digits := "0123456789abcdef"[:2+r.IntN(15)]
		b := make([]byte, n)
		for i := range b {
			b[i] = digits[r.IntN(len(digits))]
		}
		return string(b)
	}
	l := &Lock{
		APIVersion: LockAPIVersion, Kind: LockKind, Version: Version{"shop", r.IntN(3), r.IntN(1000), r.IntN(1e9)},
		Source: Source{Repository: odd(), Branch: odd(), Commit: hex(40), Tag: []string{"", "v1.5.0"}[r.IntN(2)]}, Tools: Tools{odd(), odd()},
	}
	for i := range r.IntN(6) {
		image := Image{
			Requested: odd() + "#" + strings.Repeat("i", i), Digest: "sha256:" + hex(64), MediaType: odd(), Size: r.Int64(),
			UsedBy: []string{"e/" + hex(3), "e/" + hex(4)},
		}
		image.Requested = strings.ReplaceAll(image.Requested, "@", "")
		if r.IntN(2) == 0 {
			image.Platforms = []string{"linux/arm64", "linux/amd64", odd()}
			image.Origin = &Origin{Source: odd(), Revision: hex(40)}
		}
		l.Images = append(l.Images, image)
	}
	for i := range r.IntN(6) {
		l.Renders = append(l.Renders, Render{
			Environment: "e" + hex(1), Application: odd() + strings.Repeat("r", i+1), Path: "envs/" + hex(5), SHA256: "sha256:" + hex(64),
			ClusterDependent: r.IntN(2) == 0, Empty: r.IntN(2) == 0,
		})
	}
	return l
}

// TestLockRoundTrip: whatever is written is read back, and the order in which
// things were found does not show.
func TestLockRoundTrip(t *testing.T) {
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	byName := cmpopts.SortSlices(func(a, b Image) bool { return a.Requested < b.Requested })
	byUse := cmpopts.SortSlices(func(a, b Render) bool { return a.Environment+"/"+a.Application < b.Environment+"/"+b.Application })
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // reproducible on purpose
		l := randomLock(r)
		text := mustEncode(t, l)
		parsed, err := ParseLock(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if diff := cmp.Diff(l, parsed, sorted, byName, byUse, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-written +read):\n%s\n%s", seed, diff, text)
		}
		for range 3 {
			r.Shuffle(len(l.Images), func(i, j int) { l.Images[i], l.Images[j] = l.Images[j], l.Images[i] })
			r.Shuffle(len(l.Renders), func(i, j int) { l.Renders[i], l.Renders[j] = l.Renders[j], l.Renders[i] })
			for _, image := range l.Images {
				r.Shuffle(len(image.UsedBy), func(i, j int) { image.UsedBy[i], image.UsedBy[j] = image.UsedBy[j], image.UsedBy[i] })
				r.Shuffle(len(image.Platforms), func(i, j int) {
					image.Platforms[i], image.Platforms[j] = image.Platforms[j], image.Platforms[i]
				})
			}
			if again := mustEncode(t, l); !bytes.Equal(text, again) {
				t.Fatalf("seed %d: other bytes for another order:\n%s", seed, cmp.Diff(string(text), string(again)))
			}
		}
	}
}

// TestEncodeKeepsArgument: sorting happens on a copy.
func TestEncodeKeepsArgument(t *testing.T) {
	l := lock()
	l.Images[0], l.Images[1] = l.Images[1], l.Images[0]
	l.Images[1].UsedBy = []string{"prod/orders", "dev/orders"}
	l.Renders[0], l.Renders[1] = l.Renders[1], l.Renders[0]
	before := *l
	before.Images = append([]Image(nil), l.Images...)
	before.Renders = append([]Render(nil), l.Renders...)
	if text := string(mustEncode(t, l)); text != lockText {
		t.Errorf("other text:\n%s", cmp.Diff(lockText, text))
	}
	if diff := cmp.Diff(&before, l); diff != "" {
		t.Errorf("changed its argument:\n%s", diff)
	}
}

func TestLockQueries(t *testing.T) {
	l := lock()
	if digest, ok := l.Lookup("dev.example/shop/orders:v1"); !ok || digest != ordersDigest {
		t.Errorf("Lookup: %s, %v", digest, ok)
	}
	// The reference as written counts, not what it means.
	if _, ok := l.Lookup("redis:7.4"); ok {
		t.Error("Lookup found an image that nobody asked for")
	}
	names := func(images []Image) (out []string) {
		for _, image := range images {
			out = append(out, image.Requested)
		}
		return out
	}
	for _, test := range []struct {
		environments []string
		want         []string
	}{
		{[]string{"dev"}, []string{"dev.example/shop/orders:v1"}},
		{[]string{"prod"}, []string{"dev.example/shop/orders:v1", "redis:7.4@" + redisDigest}},
		{[]string{"dev", "prod"}, []string{"dev.example/shop/orders:v1", "redis:7.4@" + redisDigest}},
		{[]string{"pro"}, nil},
		{nil, nil},
	} {
		if diff := cmp.Diff(test.want, names(l.ImagesOf(test.environments...))); diff != "" {
			t.Errorf("ImagesOf(%v):\n%s", test.environments, diff)
		}
	}
	if got := l.RendersOf("prod"); len(got) != 2 || len(l.RendersOf("dev")) != 0 {
		t.Errorf("RendersOf: %v", got)
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(lockText))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {}\n: - x"))
	f.Add([]byte("images: [{requested: a, usedBy: [x/y]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLock(text)
		if err != nil {
			if l != nil {
				t.Error("a lock beside an error")
			}
			return
		}
		again, err := ParseLock(mustEncode(t, l))
		if err != nil {
			t.Fatalf("cannot be read back: %v", err)
		}
		if !bytes.Equal(mustEncode(t, l), mustEncode(t, again)) {
			t.Error("changes when it is written again")
		}
	})
}
