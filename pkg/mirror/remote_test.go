package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// open connects to a test server as name; waits between tries take no time.
func open(t testing.TB, s *registrytest.Server, name string, change ...func(*remote.Config)) *remote.Registry {
	t.Helper()
	config := remote.Config{
		Name: name + ".example/shop", Endpoint: s.URL + "/" + name, Keychain: authn.NewMultiKeychain(),
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	for _, c := range change {
		c(&config)
	}
	r, err := remote.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestShapesOverHTTP(t *testing.T) {
	for title, s := range shapes(t) {
		for pairing, api := range map[string][2]registrytest.Options{
			"plain":           {{}, {}},
			"with the API":    {{Referrers: true}, {Referrers: true, Subject: true}},
			"API at source":   {{Referrers: true}, {NoDigestHeader: true}},
			"API at the end":  {{PageSize: 1}, {Referrers: true}},
			"refusing mounts": {{}, {NoMounts: true}},
		} {
			t.Run(title+"/"+pairing, func(t *testing.T) {
				src := open(t, registrytest.NewServer(t, api[0]), "dev")
				server := registrytest.NewServer(t, api[1])
				dst := open(t, server, "stage")
				s.push(t, src, "orders", "1.0")
				images := []mirror.Image{imageOf(src, "orders", s, tags...)}
				copied := images
				other := images[0]
				other.TargetRepo = "mirror/orders"
				copied = append(copied, other)
				mustCopy(t, dst, copied, mirror.Options{})
				s.check(t, dst, "orders", tags...)
				s.check(t, dst, "mirror/orders", tags...)
				for _, shallow := range []bool{true, false} {
					server.Requests()
					mustCopy(t, dst, copied, mirror.Options{Shallow: shallow})
					for _, request := range server.Requests() {
						if !strings.HasPrefix(request, http.MethodGet) && !strings.HasPrefix(request, http.MethodHead) {
							t.Errorf("a run with nothing to do made the request %s", request)
						}
					}
				}
			})
		}
	}
}

// One host, two prefixes: nothing is transferred.
func TestSameHostMounts(t *testing.T) {
	server := registrytest.NewServer(t, registrytest.Options{Username: "ci", Password: "secret", Tokens: true})
	login := func(c *remote.Config) {
		c.Keychain = keychain{Username: "ci", Password: "secret"}
	}
	src, dst := open(t, server, "dev", login), open(t, server, "stage", login)
	s := shapes(t)["referrers of children"]
	s.push(t, src, "orders")
	report := mustCopy(t, dst, []mirror.Image{imageOf(src, "orders", s, tags...)}, mirror.Options{})
	if report.Bytes != 0 || report.Mounted == 0 {
		t.Errorf("report %+v, want everything mounted", report)
	}
	s.check(t, dst, "orders", tags...)
}

type keychain authn.AuthConfig

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(k)), nil
}

func TestRefusals(t *testing.T) {
	s := shapes(t)["referrers of children"]
	match := func(method, path string) func(*http.Request) bool {
		return func(req *http.Request) bool {
			return req.Method == method && strings.Contains(req.URL.Path, path)
		}
	}
	for name, test := range map[string]struct {
		side string
		deny func(*http.Request) bool
	}{
		"manifests of the source":      {mirror.SideSource, match(http.MethodGet, "/manifests/")},
		"blobs of the source":          {mirror.SideSource, match(http.MethodGet, "/blobs/")},
		"tags of the source":           {mirror.SideSource, match(http.MethodGet, "/tags/")},
		"referrers of the source":      {mirror.SideSource, match(http.MethodGet, "/referrers/")},
		"reading the destination":      {mirror.SideDestination, match(http.MethodGet, "/manifests/")},
		"uploads to the destination":   {mirror.SideDestination, match(http.MethodPost, "/blobs/")},
		"manifests of the destination": {mirror.SideDestination, match(http.MethodPut, "/manifests/")},
	} {
		t.Run(name, func(t *testing.T) {
			servers := map[string]*registrytest.Server{
				mirror.SideSource:      registrytest.NewServer(t, registrytest.Options{Referrers: true}),
				mirror.SideDestination: registrytest.NewServer(t, registrytest.Options{}),
			}
			src, dst := open(t, servers[mirror.SideSource], "dev"), open(t, servers[mirror.SideDestination], "stage")
			s.push(t, src, "orders")
			servers[test.side].Deny(test.deny)
			images := []mirror.Image{imageOf(src, "orders", s, tags...)}
			_, err := mirror.Copy(t.Context(), dst, images, mirror.Options{})
			var e *mirror.Error
			if !errors.Is(err, registry.ErrUnauthorized) || !errors.As(err, &e) || e.Side != test.side {
				t.Errorf("error %v, want ErrUnauthorized of the %s", err, test.side)
			}
			servers[test.side].Deny(nil)
			mustCopy(t, dst, images, mirror.Options{})
			s.check(t, dst, "orders", tags...)
		})
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	all := shapes(t)
	for name, fault := range map[string]registrytest.HTTPFault{
		"429":            {Times: 5, Status: 429, RetryAfter: "1"},
		"503":            {Times: 5, Status: 503},
		"resets":         {Times: 5, Reset: true},
		"lost answers":   {Times: 5, LoseAnswer: true},
		"cut downloads":  {Times: 5, Method: http.MethodGet, CutAfter: 50},
		"lost manifests": {Times: 3, Method: http.MethodPut, Path: "/manifests/", LoseAnswer: true},
		"lost uploads":   {Times: 3, Method: http.MethodPut, Path: "/blobs/", Reset: true},
		"lost mounts":    {Times: 3, Method: http.MethodPost, Path: "mount=", LoseAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := registrytest.NewServer(t, registrytest.Options{}), registrytest.NewServer(t, registrytest.Options{})
			src, dst := open(t, from, "dev"), open(t, to, "stage")
			var images []mirror.Image
			for _, repo := range []string{"orders", "payments"} {
				all["referrers of children"].push(t, src, repo)
				images = append(images, imageOf(src, repo, all["referrers of children"], tags...))
			}
			from.Fail(fault)
			to.Fail(fault)
			mustCopy(t, dst, images, mirror.Options{})
			for _, repo := range []string{"orders", "payments"} {
				all["referrers of children"].check(t, dst, repo, tags...)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	s := shapes(t)["referrers of children"]
	from, to := registrytest.NewServer(t, registrytest.Options{}), registrytest.NewServer(t, registrytest.Options{})
	src, dst := open(t, from, "dev"), open(t, to, "stage")
	s.push(t, src, "orders")
	images := []mirror.Image{imageOf(src, "orders", s, tags...)}

	to.Fail(registrytest.HTTPFault{Status: 503, Times: 1 << 20})
	_, err := mirror.Copy(t.Context(), dst, images, mirror.Options{})
	var e *mirror.Error
	if !errors.Is(err, registry.ErrUnreachable) || !errors.As(err, &e) || e.Side != mirror.SideDestination {
		t.Errorf("error %v, want ErrUnreachable of the destination", err)
	}

	to = registrytest.NewServer(t, registrytest.Options{})
	dst = open(t, to, "stage")
	mustCopy(t, dst, images, mirror.Options{})
	from.Fail(registrytest.HTTPFault{Status: 503, Times: 1 << 20})
	src = open(t, from, "dev")
	images[0].Source = src
	report := mustCopy(t, dst, images, mirror.Options{})
	if !report.Images[0].AlreadyThere || !report.Images[0].SourceUnreachable {
		t.Errorf("report %+v, want a complete image whose source is unreachable", report.Images[0])
	}
	to.DeleteBlob("stage/orders", firstBlob(s.built.Children[0]))
	_, err = mirror.Copy(t.Context(), dst, images, mirror.Options{})
	if !errors.Is(err, registry.ErrUnreachable) || !errors.As(err, &e) || e.Side != mirror.SideSource {
		t.Errorf("error %v, want ErrUnreachable of the source", err)
	}
	_, err = mirror.Verify(t.Context(), dst, images, mirror.Options{})
	if !errors.Is(err, registry.ErrNotFound) || !errors.As(err, &e) || e.Side != mirror.SideDestination {
		t.Errorf("error %v, want ErrNotFound of the destination", err)
	}
}

// A run with nothing to do costs about one request per image when shallow.
func TestRequestsOfARunWithNothingToDo(t *testing.T) {
	from, to := registrytest.NewServer(t, registrytest.Options{}), registrytest.NewServer(t, registrytest.Options{})
	src, dst := open(t, from, "dev"), open(t, to, "stage")
	const count = 20
	var images []mirror.Image
	for i := range count {
		repo := fmt.Sprintf("service-%d", i)
		s := shape{built: registrytest.MustImage(t, imagebuild.Spec{Files: imagebuild.Files{"n": repo}})}
		s.push(t, src, repo)
		images = append(images, imageOf(src, repo, s, "v1.0.0"))
	}
	mustCopy(t, dst, images, mirror.Options{})
	from.Requests()
	to.Requests()
	report := mustCopy(t, dst, images, mirror.Options{Shallow: true})
	if n := len(to.Requests()); n != count {
		t.Errorf("%d requests to the destination, want one per image", n)
	}
	// The source was asked before whether it has the referrers API; its tags
	// answer everything else.
	if n := len(from.Requests()); n != count {
		t.Errorf("%d requests to the source, want one list of tags per repository", n)
	}
	if !report.Images[0].AlreadyThere {
		t.Errorf("report %+v", report.Images[0])
	}
	mustCopy(t, dst, images, mirror.Options{})
	// The manifest, configuration and layer, and the tag.
	if n := len(to.Requests()); n != 4*count {
		t.Errorf("%d requests to the destination, want one for each manifest, blob and tag", n)
	}
}

// TestUnfinishedCopyIsNotComplete: an earlier copy ended between the image and its
// signature, and now the source does not answer. The image is there, and nobody
// can say that it is complete: its tags are missing, which are set last.
func TestUnfinishedCopyIsNotComplete(t *testing.T) {
	image := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms()})
	target := registry.NewMemory("stage.example/shop")
	registrytest.MustPush(t, target, "orders", image)
	server := registrytest.NewServer(t, registrytest.Options{})
	server.Fail(registrytest.HTTPFault{Status: 503, Times: 1 << 20})
	copied := mirror.Image{
		Reference: "dev/orders:1", Source: open(t, server, "dev"), SourceRepo: "orders", TargetRepo: "orders",
		Digest: image.Digest(), Tags: []string{"stage-shop-v1"},
	}
	if _, err := mirror.Copy(t.Context(), target, []mirror.Image{copied}, mirror.Options{}); !errors.Is(err, registry.ErrUnreachable) {
		t.Errorf("without its tag: %v, want ErrUnreachable", err)
	}
	registrytest.MustPush(t, target, "orders", image, "stage-shop-v1")
	if _, err := mirror.Copy(t.Context(), target, []mirror.Image{copied}, mirror.Options{}); err != nil {
		t.Errorf("with its tag: %v", err)
	}
}
