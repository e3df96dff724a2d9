package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// shape is an image of some form, as it is at the source.
type shape struct {
	built imagebuild.Built
	// legacy are signatures under cosign's tags.
	legacy map[string]imagebuild.Built
}

func (s shape) push(t testing.TB, w registry.Writer, repo string, tags ...string) {
	t.Helper()
	registrytest.MustPush(t, w, repo, s.built, tags...)
	for tag, b := range s.legacy {
		registrytest.MustPush(t, w, repo, b, tag)
	}
}

// check fails the test unless the registry holds the shape, byte by byte.
func (s shape) check(t testing.TB, r registry.Reader, repo string, tags ...string) {
	t.Helper()
	s.checkBuilt(t, r, repo, s.built)
	for tag, b := range s.legacy {
		s.checkBuilt(t, r, repo, b)
		if d, err := r.Resolve(t.Context(), repo, tag); err != nil || d.Digest != b.Digest() {
			t.Errorf("tag %s names %s, %v; want %s", tag, d.Digest, err, b.Digest())
		}
	}
	for _, tag := range tags {
		if d, err := r.Resolve(t.Context(), repo, tag); err != nil || d.Digest != s.built.Digest() {
			t.Errorf("tag %s names %s, %v; want %s", tag, d.Digest, err, s.built.Digest())
		}
	}
}

func (s shape) checkBuilt(t testing.TB, r registry.Reader, repo string, b imagebuild.Built) {
	t.Helper()
	ctx := t.Context()
	m, err := r.Manifest(ctx, repo, b.Digest())
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(b.Manifest, m); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	for digest, want := range b.Blobs {
		rc, err := r.Blob(ctx, repo, digest)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %s: %d bytes, %v", digest, len(got), err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, child := range b.Children {
		s.checkBuilt(t, r, repo, child)
	}
	if len(b.Referrers) == 0 {
		return
	}
	list, err := r.Referrers(ctx, repo, b.Digest())
	if err != nil {
		t.Error(err)
	}
	listed := map[string]bool{}
	for _, d := range list {
		listed[d.Digest] = true
	}
	for _, referrer := range b.Referrers {
		s.checkBuilt(t, r, repo, referrer)
		if !listed[referrer.Digest()] {
			t.Errorf("%s is not listed as a referrer of %s", referrer.Digest(), b.Digest())
		}
	}
}

func shapes(t testing.TB) map[string]shape {
	t.Helper()
	image := registrytest.MustImage(t, imagebuild.Spec{Files: imagebuild.Files{"a": "1"}})
	index := registrytest.MustIndex(t, imagebuild.Spec{
		Platforms: registrytest.TwoPlatforms(), Layers: []imagebuild.Files{{"base": strings.Repeat("b", 1000)}}, Files: imagebuild.Files{"a": "2"},
	})
	docker := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Docker: true})
	signature := imagebuild.Signature(image.Manifest.Descriptor(), "s")
	onSignature := imagebuild.Signature(signature.Manifest.Descriptor(), "countersigned")
	signed := image.Refer(signature.Refer(onSignature), imagebuild.Artifact(image.Manifest.Descriptor(), "application/spdx+json", []byte("{}"), nil))

	children := imagebuild.Built{Manifest: index.Manifest}
	for _, child := range index.Children {
		children.Children = append(children.Children, child.Refer(imagebuild.Signature(child.Manifest.Descriptor(), "child")))
	}
	// A referrer may be an index with children of its own.
	children = children.Refer(imagebuild.Signature(index.Manifest.Descriptor(), "index"))

	legacySig, sigTag := imagebuild.LegacySignature(index.Manifest.Descriptor(), "p1")
	legacyChild, childTag := imagebuild.LegacySignature(index.Children[1].Manifest.Descriptor(), "p2")
	legacySBOM, _ := imagebuild.LegacySignature(index.Manifest.Descriptor(), "sbom")
	onSig, onSigTag := imagebuild.LegacySignature(legacySig.Manifest.Descriptor(), "on the signature")

	return map[string]shape{
		"image":                   {built: image},
		"index":                   {built: index},
		"index of indexes":        {built: imagebuild.IndexOf([]imagebuild.Built{index, image, imagebuild.IndexOf([]imagebuild.Built{index}, false)}, false)},
		"docker list":             {built: docker},
		"artifact with subject":   {built: signature},
		"referrer of a referrer":  {built: signed},
		"referrers of children":   {built: children},
		"signatures under tags":   {built: index, legacy: map[string]imagebuild.Built{sigTag: legacySig, childTag: legacyChild, strings.TrimSuffix(sigTag, ".sig") + ".sbom": legacySBOM, onSigTag: onSig}},
		"empty index":             {built: imagebuild.IndexOf(nil, false)},
		"layers kept elsewhere":   foreign(t),
		"the same child repeated": {built: imagebuild.IndexOf([]imagebuild.Built{image, image}, false)},
	}
}

// foreign is an image with a layer that registries need not hold.
func foreign(t testing.TB) shape {
	t.Helper()
	b := registrytest.MustImage(t, imagebuild.Spec{})
	raw := strings.Replace(string(b.Manifest.Raw), `"layers":[`,
		`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"`+registry.Digest([]byte("windows"))+
			`","size":7,"urls":["https://example.com/layer"]},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"`+
			registry.Digest([]byte("elsewhere"))+`","size":9,"urls":["https://example.com/other"]},`, 1)
	b.Manifest.Raw = []byte(raw)
	return shape{built: b}
}

func imageOf(src registry.Reader, repo string, s shape, tags ...string) mirror.Image {
	return mirror.Image{
		Reference: src.Name() + "/" + repo + ":1.0", Source: src, SourceRepo: repo, TargetRepo: repo,
		Digest: s.built.Digest(), Tags: tags,
	}
}

var tags = []string{"stage-shop-v1.0.0", "v1.0.0"}

func mustCopy(t testing.TB, dst registry.Registry, images []mirror.Image, options mirror.Options) mirror.Report {
	t.Helper()
	report, err := mirror.Copy(t.Context(), dst, images, options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustVerify(t testing.TB, dst registry.Reader, images []mirror.Image) {
	t.Helper()
	if _, err := mirror.Verify(t.Context(), dst, images, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestShapes(t *testing.T) {
	for name, s := range shapes(t) {
		for pairing, api := range map[string][2]bool{"neither": {false, false}, "source only": {true, false}, "destination only": {false, true}, "both": {true, true}} {
			t.Run(name+"/referrers API at "+pairing, func(t *testing.T) {
				src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
				src.SetReferrersAPI(api[0])
				dst.SetReferrersAPI(api[1])
				s.push(t, src, "orders", "1.0")
				images := []mirror.Image{imageOf(src, "orders", s, tags...)}

				if _, err := mirror.Verify(t.Context(), dst, images, mirror.Options{}); !errors.Is(err, registry.ErrNotFound) {
					t.Errorf("Verify before: %v, want ErrNotFound", err)
				}
				first := mustCopy(t, dst, images, mirror.Options{})
				s.check(t, dst, "orders", tags...)
				mustVerify(t, dst, images)
				if first.Images[0].AlreadyThere || first.Manifests == 0 {
					t.Errorf("first report %+v", first)
				}
				for _, shallow := range []bool{false, true} {
					again := mustCopy(t, dst, images, mirror.Options{Shallow: shallow})
					if !again.Images[0].AlreadyThere || again.Manifests+again.Blobs+again.Mounted != 0 {
						t.Errorf("second report (shallow %v) %+v", shallow, again)
					}
					if again.Images[0].Manifests != first.Images[0].Manifests || again.Images[0].Referrers != first.Images[0].Referrers {
						t.Errorf("second report (shallow %v) counts %+v, the first %+v", shallow, again.Images[0], first.Images[0])
					}
				}
				// The source is gone, and everything can still be read.
				images[0].Source = nil
				mustVerify(t, dst, images)
				s.check(t, dst, "orders", tags...)
			})
		}
	}
}

func TestKilledAtEachWrite(t *testing.T) {
	all := shapes(t)
	build := func(t *testing.T) (*registry.Memory, []mirror.Image, map[string]shape) {
		src := registry.NewMemory("dev.example")
		src.SetReferrersAPI(false)
		kept := map[string]shape{"orders": all["referrer of a referrer"], "payments": all["signatures under tags"], "carts": all["index"], "deep": all["index of indexes"]}
		var images []mirror.Image
		for _, repo := range []string{"orders", "payments", "carts", "deep"} {
			kept[repo].push(t, src, repo)
			images = append(images, imageOf(src, repo, kept[repo], tags...))
		}
		return src, images, kept
	}
	open := func() *registrytest.Faults {
		m := registry.NewMemory("stage.example")
		m.SetReferrersAPI(false)
		return registrytest.Faulty(m)
	}
	options := mirror.Options{Concurrency: 1}
	_, images, _ := build(t)
	clean := open()
	mustCopy(t, clean, images, options)
	writes := clean.Writes()
	if writes < 20 {
		t.Fatalf("only %d writes", writes)
	}
	want := contents(t, clean.Registry.(*registry.Memory))
	for _, die := range []bool{false, true} {
		for n := 1; n <= writes; n++ {
			for _, fault := range []registrytest.Fault{registrytest.Lost, registrytest.Unanswered} {
				dst := open()
				if die {
					dst.DieAt(n, fault)
				} else {
					dst.FailAt(n, fault)
				}
				_, err := mirror.Copy(t.Context(), dst, images, options)
				var e *mirror.Error
				if die && !errors.Is(err, registrytest.ErrInjected) || err != nil && (!errors.As(err, &e) || e.Side != mirror.SideDestination) {
					t.Fatalf("write %d %v: error %v", n, fault, err)
				}
				checkTagsComplete(t, dst, images)
				dst.FailAt(0, 0)
				mustCopy(t, dst, images, options)
				if diff := cmp.Diff(want, contents(t, dst.Registry.(*registry.Memory))); diff != "" {
					t.Fatalf("write %d %v, then again (-want +got):\n%s", n, fault, diff)
				}
			}
		}
	}
}

// checkTagsComplete: an image that bears its tag is complete at any moment.
func checkTagsComplete(t *testing.T, dst registry.Reader, images []mirror.Image) {
	t.Helper()
	for _, image := range images {
		d, err := dst.Resolve(t.Context(), image.TargetRepo, image.Tags[len(image.Tags)-1])
		if err != nil || d.Digest != image.Digest {
			continue
		}
		mustVerify(t, dst, []mirror.Image{image})
	}
}

// contents lists what a registry holds.
func contents(t *testing.T, m *registry.Memory) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, repo := range m.Repositories() {
		list, err := m.Tags(t.Context(), repo)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range list {
			d, err := m.Resolve(t.Context(), repo, tag)
			if err != nil {
				t.Fatal(err)
			}
			all[repo] = append(all[repo], tag+" "+d.Digest)
		}
	}
	return all
}

func TestRepairs(t *testing.T) {
	s := shapes(t)["referrers of children"]
	child := s.built.Children[1]
	referrer := child.Referrers[0]
	for name, lose := range map[string]func(*registry.Memory){
		"a blob":  func(m *registry.Memory) { m.DeleteBlob("orders", firstBlob(child)) },
		"a child": func(m *registry.Memory) { m.DeleteManifest("orders", child.Digest()) },
		"a child and blobs": func(m *registry.Memory) {
			m.DeleteManifest("orders", child.Digest())
			m.DeleteBlob("orders", firstBlob(child))
		},
		"the root":            func(m *registry.Memory) { m.DeleteManifest("orders", s.built.Digest()) },
		"a tag":               func(m *registry.Memory) { m.DeleteTag("orders", tags[0]) },
		"a signature":         func(m *registry.Memory) { m.DeleteManifest("orders", referrer.Digest()) },
		"a signature's blob":  func(m *registry.Memory) { m.DeleteBlob("orders", firstBlob(referrer)) },
		"a list of referrers": func(m *registry.Memory) { m.DeleteTag("orders", registry.ReferrersTag(child.Digest())) },
		"a manifest's bytes": func(m *registry.Memory) {
			m.ReplaceManifest("orders", child.Digest(), registry.Manifest{MediaType: child.Manifest.MediaType, Raw: []byte("{}")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
			dst.SetReferrersAPI(false)
			s.push(t, src, "orders")
			images := []mirror.Image{imageOf(src, "orders", s, tags...)}
			mustCopy(t, dst, images, mirror.Options{})
			lose(dst)
			_, err := mirror.Verify(t.Context(), dst, images, mirror.Options{})
			var e *mirror.Error
			if !errors.As(err, &e) || e.Side != mirror.SideDestination {
				t.Fatalf("Verify: %v, want a failure of the destination", err)
			}
			report := mustCopy(t, dst, images, mirror.Options{})
			if report.Images[0].AlreadyThere {
				t.Error("nothing was repaired")
			}
			mustVerify(t, dst, images)
			s.check(t, dst, "orders", tags...)
		})
	}
}

func firstBlob(b imagebuild.Built) string {
	parts, err := b.Manifest.Parse()
	if err != nil {
		panic(err)
	}
	return parts.Blobs[0].Digest
}

// A signature made after the image was copied comes along with the next copy.
func TestLateSignature(t *testing.T) {
	all := shapes(t)
	for _, shallow := range []bool{false, true} {
		src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
		s := all["index"]
		s.push(t, src, "orders")
		images := []mirror.Image{imageOf(src, "orders", s, tags...)}
		mustCopy(t, dst, images, mirror.Options{Shallow: shallow})

		s.built = s.built.Refer(imagebuild.Signature(s.built.Manifest.Descriptor(), "late"))
		legacySignature, tag := imagebuild.LegacySignature(s.built.Children[0].Manifest.Descriptor(), "late")
		s.legacy = map[string]imagebuild.Built{tag: legacySignature}
		s.push(t, src, "orders")
		mustCopy(t, dst, images, mirror.Options{Shallow: shallow})
		s.check(t, dst, "orders", tags...)

		// Cosign adds a signature by replacing what the tag names.
		legacySignature, _ = imagebuild.LegacySignature(s.built.Children[0].Manifest.Descriptor(), "late", "later")
		s.legacy[tag] = legacySignature
		s.push(t, src, "orders")
		mustCopy(t, dst, images, mirror.Options{Shallow: shallow})
		s.check(t, dst, "orders", tags...)
	}
}

// Signatures that were added at the destination are not lost.
func TestSignaturesOfTheDestination(t *testing.T) {
	src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
	s := shapes(t)["image"]
	subject := s.built.Manifest.Descriptor()
	one, tag := imagebuild.LegacySignature(subject, "one")
	both, _ := imagebuild.LegacySignature(subject, "one", "two")
	other, _ := imagebuild.LegacySignature(subject, "other")
	s.push(t, src, "orders")
	registrytest.MustPush(t, src, "orders", one, tag)
	images := []mirror.Image{imageOf(src, "orders", s, tags...)}
	mustCopy(t, dst, images, mirror.Options{})

	registrytest.MustPush(t, dst, "orders", both, tag)
	mustCopy(t, dst, images, mirror.Options{})
	mustVerify(t, dst, images)
	if d, err := dst.Resolve(t.Context(), "orders", tag); err != nil || d.Digest != both.Digest() {
		t.Errorf("tag names %s, %v; want the one with both signatures", d.Digest, err)
	}
	registrytest.MustPush(t, dst, "orders", other, tag)
	if _, err := mirror.Copy(t.Context(), dst, images, mirror.Options{}); err == nil || !strings.Contains(err.Error(), tag) {
		t.Errorf("error %v, want one about the tag", err)
	}
	if d, err := dst.Resolve(t.Context(), "orders", tag); err != nil || d.Digest != other.Digest() {
		t.Errorf("tag names %s, %v; want it untouched", d.Digest, err)
	}
}

// Each byte travels once, however many repositories share it.
func TestSharedLayersTravelOnce(t *testing.T) {
	for name, mounts := range map[string]bool{"with mounts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
			dst.SetMounts(mounts)
			var images []mirror.Image
			unique := map[string]int{}
			pairs := 0
			for _, repo := range []string{"orders", "payments", "carts", "users", "mail"} {
				s := shape{built: registrytest.MustImage(t, imagebuild.Spec{
					Layers: []imagebuild.Files{{"base": strings.Repeat("x", 5000)}}, Files: imagebuild.Files{"app": repo},
				})}
				s.push(t, src, repo)
				images = append(images, imageOf(src, repo, s, tags...))
				for digest, content := range s.built.Blobs {
					unique[digest] = len(content)
					pairs++
				}
			}
			report := mustCopy(t, dst, images, mirror.Options{})
			if !mounts {
				if report.Blobs != pairs || report.Mounted != 0 {
					t.Errorf("%d blobs sent and %d mounted, want %d and 0", report.Blobs, report.Mounted, pairs)
				}
				return
			}
			total := 0
			for _, size := range unique {
				total += size
			}
			if report.Blobs != len(unique) || report.Bytes != int64(total) || report.Mounted != pairs-len(unique) {
				t.Errorf("%d blobs with %d bytes sent, %d mounted; want %d with %d, %d", report.Blobs, report.Bytes, report.Mounted, len(unique), total, pairs-len(unique))
			}
			// A new image on the same base brings only its own layer.
			s := shape{built: registrytest.MustImage(t, imagebuild.Spec{
				Layers: []imagebuild.Files{{"base": strings.Repeat("x", 5000)}}, Files: imagebuild.Files{"app": "new"},
			})}
			s.push(t, src, "new")
			report = mustCopy(t, dst, append(images, imageOf(src, "new", s, tags...)), mirror.Options{Shallow: true})
			if report.Blobs != 2 || report.Mounted != 1 {
				t.Errorf("increment: %d sent, %d mounted; want 2 and 1", report.Blobs, report.Mounted)
			}
		})
	}
}

func TestSameRegistry(t *testing.T) {
	m := registry.NewMemory("registry.example")
	s := shapes(t)["referrers of children"]
	s.push(t, m, "dev/orders")
	image := imageOf(m, "dev/orders", s, tags...)
	image.TargetRepo = "stage/orders"
	report := mustCopy(t, m, []mirror.Image{image}, mirror.Options{})
	if report.Bytes != 0 || report.Blobs != 0 || report.Mounted == 0 {
		t.Errorf("report %+v, want everything mounted", report)
	}
	s.check(t, m, "stage/orders", tags...)
	image.TargetRepo = "dev/orders"
	report = mustCopy(t, m, []mirror.Image{image}, mirror.Options{})
	if report.Manifests != 1 && report.Manifests != len(tags) || report.Mounted+report.Blobs != 0 {
		t.Errorf("onto itself: %+v, want tags only", report)
	}
	s.check(t, m, "dev/orders", tags...)
}

func TestOneFailureDoesNotStopOthers(t *testing.T) {
	all := shapes(t)
	src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
	var images []mirror.Image
	for _, repo := range []string{"orders", "payments", "carts"} {
		all["index"].push(t, src, repo)
		images = append(images, imageOf(src, repo, all["index"], tags...))
	}
	lost := all["index"].built.Children[0].Digest()
	src.DeleteManifest("payments", lost)
	report, err := mirror.Copy(t.Context(), dst, images, mirror.Options{})
	want := "image dev.example/payments:1.0 (" + images[1].Digest + "): source: registry dev.example: repository payments: manifest " + lost + ": not found"
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
	var e *mirror.Error
	if !errors.As(err, &e) || !errors.Is(err, registry.ErrNotFound) || e.Side != mirror.SideSource || e.Repository != "payments" || e.Digest != lost || e.Image != images[1].Digest {
		t.Errorf("error %+v", e)
	}
	for i, image := range report.Images {
		if (image.Error != "") != (i == 1) || (image.Err() != nil) != (i == 1) {
			t.Errorf("image %d: %q", i, image.Error)
		}
	}
	all["index"].check(t, dst, "orders", tags...)
	all["index"].check(t, dst, "carts", tags...)
	if _, err := dst.Resolve(t.Context(), "payments", tags[0]); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the incomplete image has its tag: %v", err)
	}
}

func TestLyingSource(t *testing.T) {
	s := shapes(t)["index"]
	child := s.built.Children[0]
	for name, lie := range map[string]func(*registry.Memory){
		"blob": func(m *registry.Memory) { m.ReplaceBlob("orders", firstBlob(child), []byte("something else")) },
		"same size": func(m *registry.Memory) {
			m.ReplaceBlob("orders", firstBlob(child), bytes.Repeat([]byte{1}, len(child.Blobs[firstBlob(child)])))
		},
		"manifest":      func(m *registry.Memory) { m.ReplaceManifest("orders", child.Digest(), s.built.Manifest) },
		"root manifest": func(m *registry.Memory) { m.ReplaceManifest("orders", s.built.Digest(), child.Manifest) },
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
			s.push(t, src, "orders")
			lie(src)
			_, err := mirror.Copy(t.Context(), dst, []mirror.Image{imageOf(src, "orders", s, tags...)}, mirror.Options{})
			var e *mirror.Error
			if !errors.Is(err, registry.ErrDigestMismatch) || !errors.As(err, &e) || e.Side != mirror.SideSource {
				t.Errorf("error %v, want ErrDigestMismatch of the source", err)
			}
			if list, err := dst.Tags(t.Context(), "orders"); len(list) > 0 || err != nil {
				t.Errorf("tags %v, %v", list, err)
			}
		})
	}
}

// liar lists referrers that are none.
type liar struct {
	*registry.Memory
	list []registry.Descriptor
}

func (l *liar) Referrers(context.Context, string, string) ([]registry.Descriptor, error) {
	return l.list, nil
}

func TestFalseReferrers(t *testing.T) {
	s := shapes(t)["index"]
	src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
	s.push(t, src, "orders")
	image := imageOf(&liar{Memory: src, list: []registry.Descriptor{
		s.built.Manifest.Descriptor(), s.built.Children[0].Manifest.Descriptor(), {Digest: registry.Digest([]byte("dangling"))},
	}}, "orders", s, tags...)
	mustCopy(t, dst, []mirror.Image{image}, mirror.Options{})
	mustVerify(t, dst, []mirror.Image{image})
	s.check(t, dst, "orders", tags...)
}

func TestBounds(t *testing.T) {
	src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
	deep := registrytest.MustImage(t, imagebuild.Spec{})
	for range 20 {
		deep = imagebuild.IndexOf([]imagebuild.Built{deep}, false)
	}
	wide := registrytest.MustImage(t, imagebuild.Spec{})
	for range 15 {
		wide = imagebuild.IndexOf([]imagebuild.Built{wide, wide, wide}, false)
	}
	for name, b := range map[string]imagebuild.Built{"deep": deep, "wide": wide} {
		if name == "wide" {
			push(t, src, name, b)
		} else {
			registrytest.MustPush(t, src, name, b)
		}
		_, err := mirror.Copy(t.Context(), dst, []mirror.Image{imageOf(src, name, shape{built: b})}, mirror.Options{})
		if err == nil {
			t.Errorf("%s: copied", name)
		}
		if repos := dst.Repositories(); len(repos) > 0 {
			t.Errorf("%s: something was written to %v", name, repos)
		}
	}
}

// push pushes an index whose children are all the same, once each.
func push(t *testing.T, w registry.Writer, repo string, b imagebuild.Built) {
	t.Helper()
	if len(b.Children) == 0 {
		registrytest.MustPush(t, w, repo, b)
		return
	}
	push(t, w, repo, b.Children[0])
	if err := w.PutManifest(t.Context(), repo, b.Manifest); err != nil {
		t.Fatal(err)
	}
}

// stopper cancels at a write.
type stopper struct {
	*registrytest.Faults
	cancel context.CancelFunc
	at     int
	mu     sync.Mutex
	after  []string
}

func (s *stopper) PutManifest(ctx context.Context, repo string, m registry.Manifest, tags ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		s.after = append(s.after, m.Digest())
	}
	if s.at--; s.at == 0 {
		s.cancel()
	}
	return s.Faults.PutManifest(ctx, repo, m, tags...)
}

func TestCancelled(t *testing.T) {
	all := shapes(t)
	src := registry.NewMemory("dev.example")
	var images []mirror.Image
	for _, repo := range []string{"orders", "payments", "carts"} {
		all["index"].push(t, src, repo)
		images = append(images, imageOf(src, repo, all["index"], tags...))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dst := &stopper{Faults: registrytest.Faulty(registry.NewMemory("stage.example")), cancel: cancel, at: 3}
	_, err := mirror.Copy(ctx, dst, images, mirror.Options{Concurrency: 1})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if len(dst.after) > 0 {
		t.Errorf("written after the end: %v", dst.after)
	}
	writes := dst.Writes()
	if _, err := mirror.Copy(ctx, dst, images, mirror.Options{}); !errors.Is(err, context.Canceled) || dst.Writes() != writes {
		t.Errorf("error %v, %d more writes", err, dst.Writes()-writes)
	}
}

func TestProgress(t *testing.T) {
	src, dst := registry.NewMemory("dev.example"), registry.NewMemory("stage.example")
	s := shapes(t)["referrers of children"]
	s.push(t, src, "orders")
	var mu sync.Mutex
	var last mirror.Progress
	report := mustCopy(t, dst, []mirror.Image{imageOf(src, "orders", s, tags...)}, mirror.Options{Progress: func(p mirror.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Bytes > last.Bytes || p.Blobs > last.Blobs || p.Manifests > last.Manifests {
			last = p
		}
	}})
	if last.Bytes != report.Bytes || last.Bytes != last.BytesTotal || last.Blobs != last.BlobsTotal || last.Manifests != last.ManifestsTotal || last.Blobs == 0 {
		t.Errorf("progress ended at %+v, the report is %+v", last, report)
	}
}
