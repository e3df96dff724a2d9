package mirror_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// meter counts what goes over the wire, for us and for the peer alike.
type meter struct {
	inner           http.RoundTripper
	requests, bytes atomic.Int64
}

func newMeter() *meter {
	return &meter{inner: &http.Transport{MaxIdleConnsPerHost: 64}}
}

func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	m.requests.Add(1)
	if req.Body != nil && req.Body != http.NoBody {
		req = req.Clone(req.Context())
		req.Body = &metered{ReadCloser: req.Body, bytes: &m.bytes}
	}
	return m.inner.RoundTrip(req)
}

type metered struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.bytes.Add(int64(n))
	return n, err
}

const (
	benchImages    = 30
	benchPlatforms = 2
	benchBases     = 4
	benchBase      = 1 << 20 // bytes of a base layer
	benchTop       = 64 << 10
)

// noise is text that does not compress, the same for the same seed.
func noise(seed uint64, size int) string {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // reproducible on purpose
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	return string(content)
}

// benchSource is a registry with services on a few shared bases, every third of
// them signed.
func benchSource(b *testing.B) (*registrytest.Server, map[string]string) {
	b.Helper()
	server := registrytest.NewServer(b, registrytest.Options{})
	src := open(b, server, "dev")
	digests := map[string]string{}
	for i := range benchImages {
		repo := fmt.Sprintf("service-%02d", i)
		index := registrytest.MustIndex(b, imagebuild.Spec{
			Platforms: registrytest.TwoPlatforms()[:benchPlatforms],
			Layers:    []imagebuild.Files{{"base": noise(uint64(i%benchBases), benchBase)}},
			Files:     imagebuild.Files{"app": noise(uint64(100+i), benchTop)},
		})
		if i%3 == 0 {
			index = index.Refer(imagebuild.Signature(index.Manifest.Descriptor(), repo))
		}
		registrytest.MustPush(b, src, repo, index, "1.0")
		digests[repo] = index.Digest()
	}
	return server, digests
}

// peers copy everything at the source to the destination.
var peers = map[string]func(b *testing.B, from, to *registrytest.Server, digests map[string]string, wire *meter){
	"propagator": func(b *testing.B, from, to *registrytest.Server, digests map[string]string, wire *meter) {
		copyAll(b, from, to, digests, wire, mirror.Options{})
	},
	"propagator-shallow": func(b *testing.B, from, to *registrytest.Server, digests map[string]string, wire *meter) {
		copyAll(b, from, to, digests, wire, mirror.Options{Shallow: true})
	},
	"ggcr": copyWithGGCR,
}

func copyAll(b *testing.B, from, to *registrytest.Server, digests map[string]string, wire *meter, options mirror.Options) {
	b.Helper()
	// New clients each time: a run starts with an empty memory.
	use := func(c *remote.Config) { c.Transport = wire }
	src, dst := open(b, from, "dev", use), open(b, to, "stage", use)
	var images []mirror.Image
	for i := range len(digests) {
		repo := fmt.Sprintf("service-%02d", i)
		images = append(images, mirror.Image{
			Reference: repo, Source: src, SourceRepo: repo, TargetRepo: repo, Digest: digests[repo], Tags: []string{"1.0"},
		})
	}
	if _, err := mirror.Copy(b.Context(), dst, images, options); err != nil {
		b.Fatal(err)
	}
}

// copyWithGGCR is a plain use of go-containerregistry: one puller and one pusher
// for all images. It brings no signatures.
func copyWithGGCR(b *testing.B, from, to *registrytest.Server, digests map[string]string, wire *meter) {
	b.Helper()
	puller, err := ggcr.NewPuller(ggcr.WithTransport(wire))
	if err != nil {
		b.Fatal(err)
	}
	pusher, err := ggcr.NewPusher(ggcr.WithTransport(wire), ggcr.WithJobs(8))
	if err != nil {
		b.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(8)
	for repo, digest := range digests {
		group.Go(func() error {
			source, err := name.ParseReference(from.Host + "/dev/" + repo + "@" + digest)
			if err != nil {
				return err
			}
			target, err := name.ParseReference(to.Host + "/stage/" + repo + ":1.0")
			if err != nil {
				return err
			}
			d, err := puller.Get(b.Context(), source)
			if err != nil {
				return err
			}
			return pusher.Push(b.Context(), target, d)
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMirrorCold fills an empty registry. "peer=ggcr" is a plain use of the
// base library on the same input.
func BenchmarkMirrorCold(b *testing.B) {
	from, digests := benchSource(b)
	for name, peer := range peers {
		b.Run("peer="+name, func(b *testing.B) {
			wire := newMeter()
			var to *registrytest.Server
			for b.Loop() {
				b.StopTimer()
				to = registrytest.NewServer(b, registrytest.Options{})
				b.StartTimer()
				peer(b, from, to, digests, wire)
			}
			report(b, wire, to, digests)
		})
	}
}

// BenchmarkMirrorWarm repeats a copy that has nothing to do.
func BenchmarkMirrorWarm(b *testing.B) {
	from, digests := benchSource(b)
	for name, peer := range peers {
		b.Run("peer="+name, func(b *testing.B) {
			to := registrytest.NewServer(b, registrytest.Options{})
			peer(b, from, to, digests, newMeter())
			wire := newMeter()
			for b.Loop() {
				peer(b, from, to, digests, wire)
			}
			report(b, wire, to, digests)
		})
	}
}

// report checks that the images arrived, and gives requests and bytes sent per
// run.
func report(b *testing.B, wire *meter, to *registrytest.Server, digests map[string]string) {
	b.Helper()
	b.ReportMetric(float64(wire.requests.Load())/float64(b.N), "requests/op")
	b.ReportMetric(float64(wire.bytes.Load())/float64(b.N)/1e6, "sentMB/op")
	dst := open(b, to, "stage")
	var images []mirror.Image
	for repo, digest := range digests {
		images = append(images, mirror.Image{Reference: repo, TargetRepo: repo, Digest: digest, Tags: []string{"1.0"}})
	}
	if _, err := mirror.Verify(b.Context(), registry.Reader(dst), images, mirror.Options{}); err != nil {
		b.Fatal(err)
	}
}
