package registrytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

// Trait is a way in which a registry may differ from others.
type Trait int

// SharedBlobs: a blob of one repository is visible in all.
const SharedBlobs Trait = 1

// Suite checks that a registry keeps every promise of package registry. open
// returns an empty one for each test.
func Suite(t *testing.T, open func(t *testing.T) registry.Registry, traits ...Trait) {
	t.Helper()
	shared := slices.Contains(traits, SharedBlobs)
	for name, test := range map[string]func(*testing.T, registry.Registry){
		"empty":            suiteEmpty,
		"blobs":            func(t *testing.T, r registry.Registry) { suiteBlobs(t, r, shared) },
		"mounts":           suiteMounts,
		"images and tags":  suiteImages,
		"missing parts":    suiteMissingParts,
		"referrers":        suiteReferrers,
		"many at once":     suiteConcurrent,
		"cancelled":        suiteCancelled,
		"malformed digest": suiteMalformed,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// MustIndex builds an index or ends the test.
func MustIndex(t testing.TB, spec imagebuild.Spec) imagebuild.Built {
	t.Helper()
	b, err := imagebuild.Index(spec)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// MustImage builds an image or ends the test.
func MustImage(t testing.TB, spec imagebuild.Spec) imagebuild.Built {
	t.Helper()
	b, err := imagebuild.Image(spec)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// MustPush pushes or ends the test.
func MustPush(t testing.TB, w registry.Writer, repo string, b imagebuild.Built, tags ...string) {
	t.Helper()
	if err := imagebuild.Push(t.Context(), w, repo, b, tags...); err != nil {
		t.Fatal(err)
	}
}

// TwoPlatforms is what most indexes in tests are for.
func TwoPlatforms() []registry.Platform {
	return []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}}
}

const absent = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func content(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func blobOf(s string) registry.Descriptor {
	return registry.Descriptor{MediaType: "application/octet-stream", Digest: registry.Digest([]byte(s)), Size: int64(len(s))}
}

func suiteEmpty(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	if _, err := r.Resolve(ctx, "orders", "1.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Resolve of a tag: %v, want ErrNotFound", err)
	}
	if _, err := r.Resolve(ctx, "orders", absent); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Resolve of a digest: %v, want ErrNotFound", err)
	}
	_, err := r.Manifest(ctx, "orders", absent)
	if !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Manifest: %v, want ErrNotFound", err)
	} else if !strings.HasPrefix(err.Error(), "registry "+r.Name()+": repository orders: ") {
		t.Errorf("error %q does not start with registry and repository", err)
	}
	if _, err := r.Blob(ctx, "orders", absent); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Blob: %v, want ErrNotFound", err)
	}
	if has, err := r.HasBlob(ctx, "orders", absent); has || err != nil {
		t.Errorf("HasBlob = %v, %v; want false", has, err)
	}
	if list, err := r.Referrers(ctx, "orders", absent); len(list) > 0 || err != nil {
		t.Errorf("Referrers = %v, %v; want none", list, err)
	}
	if tags, err := r.Tags(ctx, "orders"); len(tags) > 0 || err != nil {
		t.Errorf("Tags = %v, %v; want none", tags, err)
	}
}

func suiteBlobs(t *testing.T, r registry.Registry, shared bool) {
	ctx := t.Context()
	for _, text := range []string{"hello", "", strings.Repeat("long ", 100_000)} {
		d := blobOf(text)
		for range 2 { // the second time it is there already
			if err := r.PutBlob(ctx, "orders", d, content(text)); err != nil {
				t.Fatal(err)
			}
		}
		if has, err := r.HasBlob(ctx, "orders", d.Digest); !has || err != nil {
			t.Errorf("HasBlob = %v, %v; want true", has, err)
		}
		if has, err := r.HasBlob(ctx, "payments", d.Digest); has != shared || err != nil {
			t.Errorf("HasBlob in another repository = %v, %v; want %v", has, err, shared)
		}
		rc, err := r.Blob(ctx, "orders", d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || string(got) != text {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(text))
		}
		if err := rc.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for repo, wrong := range map[string]func(string) string{
		"other-bytes": func(right string) string { return "x" + right[1:] },
		"too-short":   func(right string) string { return right[1:] },
		"too-long":    func(right string) string { return right + "x" },
	} {
		d := blobOf(repo)
		if err := r.PutBlob(ctx, repo, d, content(wrong(repo))); !errors.Is(err, registry.ErrDigestMismatch) {
			t.Errorf("%s: %v, want ErrDigestMismatch", repo, err)
		}
		if has, err := r.HasBlob(ctx, repo, d.Digest); has || err != nil {
			t.Errorf("%s: HasBlob = %v, %v; want false", repo, has, err)
		}
	}
	failure := errors.New("source fell over")
	err := r.PutBlob(ctx, "wrong", blobOf("hello"), func() (io.ReadCloser, error) { return nil, failure })
	if !errors.Is(err, failure) {
		t.Errorf("failing open: %v, want its error", err)
	}
	err = r.PutBlob(ctx, "wrong", blobOf("hello"), func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("he"), &failingReader{failure})), nil
	})
	if !errors.Is(err, failure) {
		t.Errorf("failing read: %v, want its error", err)
	}
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }

func suiteMounts(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	d := blobOf("shared")
	if mounted, err := r.MountBlob(ctx, "payments", "orders", d.Digest); mounted || err != nil {
		t.Errorf("mount of what is not there = %v, %v; want false", mounted, err)
	}
	if err := r.PutBlob(ctx, "orders", d, content("shared")); err != nil {
		t.Fatal(err)
	}
	if mounted, err := r.MountBlob(ctx, "payments", "orders", d.Digest); !mounted || err != nil {
		t.Errorf("mount = %v, %v; want true", mounted, err)
	}
	if has, err := r.HasBlob(ctx, "payments", d.Digest); !has || err != nil {
		t.Errorf("HasBlob = %v, %v; want true", has, err)
	}
}

func suiteImages(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	const repo = "docker.io/library/redis"
	for name, docker := range map[string]bool{"oci": false, "docker": true} {
		index := MustIndex(t, imagebuild.Spec{Platforms: TwoPlatforms(), Files: imagebuild.Files{"a": name}, Docker: docker})
		MustPush(t, r, repo, index, "1.0-"+name, "latest")
		MustPush(t, r, repo, index, "1.0-"+name, "latest") // changes nothing
		want := registry.Descriptor{MediaType: index.Manifest.MediaType, Digest: index.Digest(), Size: int64(len(index.Manifest.Raw))}
		for _, reference := range []string{"1.0-" + name, "latest", index.Digest()} {
			got, err := r.Resolve(ctx, repo, reference)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Resolve(%s) (-want +got):\n%s", reference, diff)
			}
		}
		for _, b := range append(slices.Clone(index.Children), index) {
			got, err := r.Manifest(ctx, repo, b.Digest())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b.Manifest, got); diff != "" {
				t.Errorf("Manifest (-want +got):\n%s", diff)
			}
		}
	}
	tags, err := r.Tags(ctx, repo)
	if diff := cmp.Diff([]string{"1.0-docker", "1.0-oci", "latest"}, tags); diff != "" || err != nil {
		t.Errorf("Tags (-want +got):\n%s%v", diff, err)
	}
}

func suiteMissingParts(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	index := MustIndex(t, imagebuild.Spec{Platforms: TwoPlatforms()})
	if err := r.PutManifest(ctx, "orders", index.Manifest, "1.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("index without children: %v, want ErrNotFound", err)
	}
	if err := r.PutManifest(ctx, "orders", index.Children[0].Manifest, "1.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("image without blobs: %v, want ErrNotFound", err)
	}
	if _, err := r.Resolve(ctx, "orders", "1.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Resolve afterwards: %v, want ErrNotFound", err)
	}
	if err := r.PutManifest(ctx, "orders", registry.Manifest{MediaType: registry.MediaTypeOCIManifest, Raw: []byte("{")}); err == nil {
		t.Error("malformed manifest was accepted")
	}
}

func suiteReferrers(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	image := MustImage(t, imagebuild.Spec{})
	first := imagebuild.Signature(image.Manifest.Descriptor(), "first")
	second := imagebuild.Signature(image.Manifest.Descriptor(), "second")
	onFirst := imagebuild.Signature(first.Manifest.Descriptor(), "on the first")
	MustPush(t, r, "orders", image.Refer(first.Refer(onFirst), second), "1.0")
	MustPush(t, r, "orders", first) // changes nothing

	want := map[string][]string{
		image.Digest():   {first.Digest(), second.Digest()},
		first.Digest():   {onFirst.Digest()},
		second.Digest():  nil,
		onFirst.Digest(): nil,
	}
	for digest, referrers := range want {
		list, err := r.Referrers(ctx, "orders", digest)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range list {
			got = append(got, d.Digest)
			if d.MediaType != registry.MediaTypeOCIManifest || d.Size == 0 {
				t.Errorf("entry %+v lacks media type or size", d)
			}
		}
		slices.Sort(got)
		slices.Sort(referrers)
		if diff := cmp.Diff(referrers, got); diff != "" {
			t.Errorf("Referrers(%s) (-want +got):\n%s", digest, diff)
		}
	}
}

func suiteConcurrent(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	image := MustImage(t, imagebuild.Spec{})
	MustPush(t, r, "orders", image, "1.0")
	var group sync.WaitGroup
	const writers = 8
	for i := range writers {
		group.Go(func() {
			signature := imagebuild.Signature(image.Manifest.Descriptor(), string(rune('a'+i)))
			if err := imagebuild.Push(ctx, r, "orders", signature); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	list, err := r.Referrers(ctx, "orders", image.Digest())
	if len(list) != writers || err != nil {
		t.Errorf("%d referrers, %v; want %d", len(list), err, writers)
	}
}

func suiteCancelled(t *testing.T, r registry.Registry) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := blobOf("hello")
	if err := r.PutBlob(ctx, "orders", d, content("hello")); !errors.Is(err, context.Canceled) {
		t.Errorf("PutBlob: %v, want context.Canceled", err)
	}
	if _, err := r.Resolve(ctx, "orders", "1.0"); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve: %v, want context.Canceled", err)
	}
	if has, err := r.HasBlob(t.Context(), "orders", d.Digest); has || err != nil {
		t.Errorf("HasBlob = %v, %v; want false", has, err)
	}
}

func suiteMalformed(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	for _, digest := range []string{"", "sha256:1", "sha512:" + strings.Repeat("0", 128), "../../etc/passwd"} {
		if _, err := r.Manifest(ctx, "orders", digest); err == nil {
			t.Errorf("Manifest(%q) succeeded", digest)
		}
		if _, err := r.Blob(ctx, "orders", digest); err == nil {
			t.Errorf("Blob(%q) succeeded", digest)
		}
		d := registry.Descriptor{Digest: digest, Size: 5}
		if err := r.PutBlob(ctx, "orders", d, func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader([]byte("hello"))), nil
		}); err == nil {
			t.Errorf("PutBlob(%q) succeeded", digest)
		}
	}
}
