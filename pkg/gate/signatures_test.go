package gate

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/sigstore"
	"github.com/fleeting-taas/propagator/pkg/sigstore/sigstoretest"
)

// stage is the registry of the environment before, with images in it.
type stage struct {
	*registry.Memory
	t testing.TB
	// broken, when set, is what the referrers of every image are.
	broken error
	asked  atomic.Int64
}

func newStage(t testing.TB) *stage {
	return &stage{Memory: registry.NewMemory("stage.example/shop"), t: t}
}

func (s *stage) Referrers(ctx context.Context, repo, digest string) ([]registry.Descriptor, error) {
	s.asked.Add(1)
	if s.broken != nil {
		return nil, s.broken
	}
	return s.Memory.Referrers(ctx, repo, digest)
}

// image pushes an image of the pipeline.
func (s *stage) image(repo string) (Image, registry.Descriptor) {
	s.t.Helper()
	built := registrytest.MustIndex(s.t, imagebuild.Spec{Files: imagebuild.Files{"name": repo}, Platforms: registrytest.TwoPlatforms()})
	registrytest.MustPush(s.t, s, repo, built)
	return Image{
		Requested: "dev.example/shop/" + repo + ":v1", Reference: s.Name() + "/" + repo + "@" + built.Digest(), Digest: built.Digest(),
		Name: "dev.example/shop/" + repo, Own: true, Repo: repo,
	}, built.Manifest.Descriptor()
}

func (s *stage) gate(signer *sigstoretest.Signer, patterns ...string) *Signatures {
	s.t.Helper()
	policy, err := sigstore.Keys([]byte(signer.Public()))
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := NewSignatures(SignaturesOptions{Policy: policy, Registry: s, Images: patterns, Command: "cosign sign --key <private key>"})
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

func about(t testing.TB, images ...Image) Subject {
	s := subject(t)
	s.Images = images
	return s
}

// TestSignatures: what is found beside an image, and what that means.
func TestSignatures(t *testing.T) {
	t.Parallel()
	ours, theirs := sigstoretest.NewKey(t, sigstoretest.P256), sigstoretest.NewKey(t, sigstoretest.P256)
	other := registry.Digest([]byte("another image"))
	for _, test := range []struct {
		name   string
		sign   func(s *stage, image Image, d registry.Descriptor)
		want   Result
		detail string // %s is the image's reference
	}{
		{"not signed", func(*stage, Image, registry.Descriptor) {}, Wait, "not signed: cosign sign --key <private key> %s"},
		{"bundle", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, ours.Bundle(image.Digest))
		}, Pass, "1 image, signed by key SHA256:"},
		{"bundle of the manifest", func(s *stage, image Image, d registry.Descriptor) {
			m, err := s.Manifest(t.Context(), image.Repo, image.Digest)
			if err != nil {
				t.Fatal(err)
			}
			sigstoretest.PushBundle(t, s, image.Repo, d, ours.Message(m.Raw))
		}, Pass, "1 image, signed by key SHA256:"},
		{"tag", func(s *stage, image Image, _ registry.Descriptor) {
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, sigstoretest.SimpleBy(ours, image.Digest))
		}, Pass, "1 image, signed by key SHA256:"},
		{"second of two in a tag", func(s *stage, image Image, _ registry.Descriptor) {
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, sigstoretest.SimpleBy(theirs, image.Digest), sigstoretest.SimpleBy(ours, image.Digest))
		}, Pass, "1 image, signed by key SHA256:"},
		{"somebody else's bundle, and our tag", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, theirs.Bundle(image.Digest))
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, sigstoretest.SimpleBy(ours, image.Digest))
		}, Pass, "1 image, signed by key SHA256:"},
		{"somebody else's bundle", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, theirs.Bundle(image.Digest))
		}, Refuse, "%s has no signature that counts: it is not by the key that is asked for"},
		{"somebody else's tag", func(s *stage, image Image, _ registry.Descriptor) {
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, sigstoretest.SimpleBy(theirs, image.Digest))
		}, Refuse, "%s has no signature that counts: it is not by the key that is asked for"},
		{"bundle of another image", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, ours.Bundle(other))
		}, Refuse, "%s has no signature that counts: it is the signature of another image"},
		{"tag of another image", func(s *stage, image Image, _ registry.Descriptor) {
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, sigstoretest.SimpleBy(ours, other))
		}, Refuse, "%s has no signature that counts: it is the signature of another image"},
		{"payload altered", func(s *stage, image Image, _ registry.Descriptor) {
			layer := sigstoretest.SimpleBy(ours, image.Digest)
			layer.Payload = append(layer.Payload, ' ')
			sigstoretest.PushSimple(t, s, image.Repo, image.Digest, layer)
		}, Refuse, "%s has no signature that counts: "},
		{"only how it was built", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, ours.Attest(sigstoretest.Statement("https://slsa.dev/provenance/v1", image.Digest)))
		}, Wait, "not signed: cosign sign --key <private key> %s"},
		{"only a list of contents", func(s *stage, image Image, d registry.Descriptor) {
			registrytest.MustPush(t, s, image.Repo, imagebuild.Artifact(d, "application/spdx+json", []byte("{}"), nil))
		}, Wait, "not signed: cosign sign --key <private key> %s"},
		{"no bundle", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, []byte("\x00"))
		}, Refuse, "%s has no signature that counts: it is not what it should be"},
		{"a bundle too large", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, append(ours.Bundle(image.Digest), make([]byte, sigstore.MaxSize)...))
		}, Refuse, "%s has no signature that counts: a signature cannot be used: it is larger than"},
		{"a bundle that the registry lost", func(s *stage, image Image, d registry.Descriptor) {
			bundle := ours.Bundle(image.Digest)
			sigstoretest.PushBundle(t, s, image.Repo, d, bundle)
			s.DeleteBlob(image.Repo, registry.Digest(bundle))
		}, Refuse, "%s has no signature that counts: "},
		{"flooded", func(s *stage, image Image, d registry.Descriptor) {
			for i := range 2*maxSignatures + 1 {
				sigstoretest.PushBundle(t, s, image.Repo, d, fmt.Appendf(nil, "%d", i))
			}
		}, Unknown, "%s: it has more than 64 signatures and statements"},
		{"no answer", func(s *stage, image Image, d registry.Descriptor) {
			sigstoretest.PushBundle(t, s, image.Repo, d, ours.Bundle(image.Digest))
			s.broken = fmt.Errorf("stage.example: %w", registry.ErrUnreachable)
		}, Unknown, "%s: stage.example: unreachable"},
		{"no right", func(s *stage, _ Image, _ registry.Descriptor) { s.broken = registry.ErrUnauthorized }, Unknown, "%s: not authorized"},
		{"no repository", func(s *stage, _ Image, _ registry.Descriptor) { s.broken = registry.ErrNotFound }, Wait, "not signed: cosign sign --key <private key> %s"},
	} {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, referrers API %t", test.name, api), func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				s.SetReferrersAPI(api)
				image, d := s.image("orders")
				test.sign(s, image, d)
				want := strings.ReplaceAll(test.detail, "%s", image.Reference)
				if got := s.gate(ours).Judge(t.Context(), about(t, image)); got.Result != test.want || !strings.HasPrefix(got.Detail, want) {
					t.Errorf("%+v, want %s: %s", got, test.want, want)
				}
			})
		}
	}
}

// TestSignaturesOfWhichImages: the pipeline's own, or those that are named; a
// pattern that fits nothing is a mistake, not a pass.
func TestSignaturesOfWhichImages(t *testing.T) {
	t.Parallel()
	key := sigstoretest.NewKey(t, sigstoretest.P256)
	s := newStage(t)
	signed, d := s.image("orders")
	sigstoretest.PushBundle(t, s, signed.Repo, d, key.Bundle(signed.Digest))
	cart, _ := s.image("cart")
	redis, _ := s.image("docker.io/library/redis")
	redis.Name, redis.Own = "docker.io/library/redis", false
	for _, test := range []struct {
		name     string
		patterns []string
		images   []Image
		want     Result
		detail   string
	}{
		{"own", nil, []Image{signed, redis}, Pass, "1 image, signed by"},
		{"own, one not signed", nil, []Image{signed, redis, cart}, Wait, "not signed: cosign sign --key <private key> stage.example/shop/cart@"},
		{"all", []string{"*"}, []Image{signed, redis}, Wait, "not signed: cosign sign --key <private key> stage.example/shop/docker.io/library/redis@"},
		{"some", []string{"dev.example/shop/ord*", "quay.io/*"}, []Image{signed, redis, cart}, Pass, "1 image, signed by"},
		{"two missing", []string{"*"}, []Image{cart, redis, signed}, Wait, "2 of 3 images: not signed: "},
		{"a pattern that fits nothing", []string{"dev.example/shpo/*"}, []Image{signed}, Unknown, "none of 1 images has a name like dev.example/shpo/*"},
		{"none is the pipeline's", nil, []Image{redis}, Unknown, "none of 1 images is in a registry of the pipeline"},
		{"no images", nil, nil, Pass, "there are no images"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := s.gate(key, test.patterns...).Judge(t.Context(), about(t, test.images...)); got.Result != test.want || !strings.HasPrefix(got.Detail, test.detail) {
				t.Errorf("%+v, want %s: %s", got, test.want, test.detail)
			}
		})
	}
}

// TestSignaturesProven: what was found signed is not asked for again for a
// while, what was not is; and another policy or digest is another question.
func TestSignaturesProven(t *testing.T) {
	t.Parallel()
	key := sigstoretest.NewKey(t, sigstoretest.P256)
	s := newStage(t)
	image, d := s.image("orders")
	g := s.gate(key)
	g.Proven, g.PolicyID = &Proven{}, "first"
	now := about(t, image)
	judge := func(want Result, asks int64) {
		t.Helper()
		before := s.asked.Load()
		if got := g.Judge(t.Context(), now); got.Result != want || s.asked.Load()-before != asks {
			t.Errorf("%+v after %d questions, want %s after %d", got, s.asked.Load()-before, want, asks)
		}
	}
	judge(Wait, 1)
	judge(Wait, 1)
	sigstoretest.PushBundle(t, s, image.Repo, d, key.Bundle(image.Digest))
	judge(Pass, 1)
	judge(Pass, 0)
	now.Now = now.Now.Add(provenLife)
	judge(Pass, 1)
	now.Now = now.Now.Add(-time.Hour) // a clock that was set back
	judge(Pass, 1)
	g.PolicyID = "second"
	judge(Pass, 1)
	now.Images[0].Digest = registry.Digest([]byte("another image"))
	judge(Wait, 1)
}

// TestSignaturesBrokenOff: nothing passes after the context has ended.
func TestSignaturesBrokenOff(t *testing.T) {
	t.Parallel()
	key := sigstoretest.NewKey(t, sigstoretest.P256)
	s := newStage(t)
	image, d := s.image("orders")
	sigstoretest.PushBundle(t, s, image.Repo, d, key.Bundle(image.Digest))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.gate(key).Judge(ctx, about(t, image)); got.Result != Unknown {
		t.Errorf("%+v", got)
	}
	if _, err := NewSignatures(SignaturesOptions{}); err == nil {
		t.Error("a gate without a policy was made")
	}
}
