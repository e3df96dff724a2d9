package config

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func referencePipeline() *Pipeline {
	return &Pipeline{
		Name: "shop",
		Registries: map[string]Registry{
			"dev":   {Name: "dev", URL: "dev.registry.example/shop"},
			"stage": {Name: "stage", URL: "stage.registry.example:5000"},
			"hub":   {Name: "hub", URL: "docker.io/shop"},
			// Parse would refuse the overlap; Locate has an answer all the same.
			"inner": {Name: "inner", URL: "dev.registry.example/shop/inner"},
		},
		Upstreams: []Upstream{{Host: "quay.io", Endpoint: "https://cache.example/quay"}},
		Environments: []Environment{
			{Name: "dev", Registry: "dev"},
			{Name: "stage", After: []string{"dev"}, Registry: "stage"},
			{Name: "lost", After: []string{"dev"}, Registry: "nowhere"},
		},
	}
}

func TestLocate(t *testing.T) {
	p := referencePipeline()
	for _, test := range []struct {
		name, image string
		want        Location
		target      string
	}{
		{"own image", "dev.registry.example/shop/orders:1f2e3d4", Location{Registry: "dev", Repo: "orders", Tag: "1f2e3d4"}, "orders"},
		{"own image, no tag", "dev.registry.example/shop/orders", Location{Registry: "dev", Repo: "orders", Tag: "latest"}, "orders"},
		{"own image in a folder", "dev.registry.example/shop/team/orders:1", Location{Registry: "dev", Repo: "team/orders", Tag: "1"}, "team/orders"},
		{"another environment's registry", "stage.registry.example:5000/orders:1", Location{Registry: "stage", Repo: "orders", Tag: "1"}, "orders"},
		{"digest only", "dev.registry.example/shop/orders@" + digestA, Location{Registry: "dev", Repo: "orders", Digest: digestA}, "orders"},
		{"tag and digest", "dev.registry.example/shop/orders:1@" + digestA, Location{Registry: "dev", Repo: "orders", Tag: "1", Digest: digestA}, "orders"},
		{"longest registry", "dev.registry.example/shop/inner/x:1", Location{Registry: "inner", Repo: "x", Tag: "1"}, "x"},
		{"upper-case host", "Dev.Registry.Example/shop/orders:1", Location{Registry: "dev", Repo: "orders", Tag: "1"}, "orders"},
		{"upper-case tag", "redis:7.4-Alpine", Location{Upstream: "docker.io", Repo: "library/redis", Tag: "7.4-Alpine"}, "docker.io/library/redis"},
		{"prefix of a word only", "dev.registry.example/shopping:1", Location{Upstream: "dev.registry.example", Repo: "shopping", Tag: "1"}, "dev.registry.example/shopping"},
		{"the registry's own url", "dev.registry.example/shop:1", Location{Upstream: "dev.registry.example", Repo: "shop", Tag: "1"}, "dev.registry.example/shop"},
		{"another port", "stage.registry.example:5001/orders:1", Location{Upstream: "stage.registry.example:5001", Repo: "orders", Tag: "1"}, "stage.registry.example_5001/orders"},
		{"short", "redis", Location{Upstream: "docker.io", Repo: "library/redis", Tag: "latest"}, "docker.io/library/redis"},
		{"short with organisation", "grafana/grafana:12.0", Location{Upstream: "docker.io", Repo: "grafana/grafana", Tag: "12.0"}, "docker.io/grafana/grafana"},
		{"own organisation on docker.io", "shop/web:2", Location{Registry: "hub", Repo: "web", Tag: "2"}, "web"},
		{"old name of docker.io", "index.docker.io/library/redis:7", Location{Upstream: "docker.io", Repo: "library/redis", Tag: "7"}, "docker.io/library/redis"},
		{"localhost", "localhost/x:1", Location{Upstream: "localhost", Repo: "x", Tag: "1"}, "localhost/x"},
		{"elsewhere", "quay.io/prometheus/prometheus:v3.5.0", Location{Upstream: "quay.io", Repo: "prometheus/prometheus", Tag: "v3.5.0"}, "quay.io/prometheus/prometheus"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := p.Locate(test.image)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("location (-want +got):\n%s", diff)
			}
			if target := got.TargetRepo(); target != test.target {
				t.Errorf("target %q, want %q", target, test.target)
			}
		})
	}
}

func TestLocateMalformed(t *testing.T) {
	p := referencePipeline()
	for _, test := range []struct{ name, image, want string }{
		{"empty", "", `"" is not an image reference: it is empty`},
		{"blanks", "redis: 7", `"redis: 7" is not an image reference: it has blanks`},
		{"scheme", "https://quay.io/x", `"https://quay.io/x" is not an image reference: it has a scheme; write host/repository:tag`},
		{"placeholder", "dev.example/${IMAGE}", `"dev.example/${IMAGE}" is not an image reference: it has a placeholder that nobody filled in`},
		{"upper case", "dev.example/Orders:1", `"dev.example/Orders:1" is not an image reference: repositories are in lower case`},
		{"no tag", "dev.example/orders:", `"dev.example/orders:" is not an image reference: the tag after the colon is missing`},
		{"short digest", "redis@sha256:1234", `"…@sha256:1234" is not an image reference: what stands after @ is not a digest (sha256: and 64 hexadecimal digits), or what stands before it is not a name`},
		{"credentials", "user:s3cret@dev.example/orders:1", `"…@dev.example/orders:1" is not an image reference: what stands after @ is not a digest (sha256: and 64 hexadecimal digits), or what stands before it is not a name`},
		{"an image id", strings.Repeat("a", 64), `"` + strings.Repeat("a", 64) + `" is not an image reference: write [host[:port]/]repository[:tag][@sha256:…]`},
		{"odd separators", "dev.example/a..b", `"dev.example/a..b" is not an image reference: write [host[:port]/]repository[:tag][@sha256:…]`},
		{"IPv6", "[::1]:5000/orders:1", `"[::1]:5000/orders:1" names a registry by its IPv6 address, which cannot be part of a mirrored name; give the registry a host name`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := p.Locate(test.image)
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != test.want {
				t.Errorf("error\n%s\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestPinned(t *testing.T) {
	p := referencePipeline()
	orders := Location{Registry: "dev", Repo: "orders", Tag: "1"}
	redis := Location{Upstream: "docker.io", Repo: "library/redis", Tag: "7"}
	for _, test := range []struct {
		name, environment string
		location          Location
		digest            string
		want, wantErr     string
	}{
		{"own", "stage", orders, digestA, "stage.registry.example:5000/orders@" + digestA, ""},
		{"first environment", "dev", orders, digestA, "dev.registry.example/shop/orders@" + digestA, ""},
		{"upstream", "stage", redis, digestA, "stage.registry.example:5000/docker.io/library/redis@" + digestA, ""},
		{"same digest", "stage", Location{Registry: "dev", Repo: "orders", Digest: digestA}, digestA, "stage.registry.example:5000/orders@" + digestA, ""},
		{"other digest", "stage", Location{Registry: "dev", Repo: "orders", Digest: digestA}, digestB, "", "image stage.registry.example:5000/orders: the manifests ask for " + digestA + ", not for " + digestB},
		{"tag for a digest", "stage", orders, "latest", "", `image stage.registry.example:5000/orders: "latest" is not a digest (sha256: and 64 hexadecimal digits)`},
		{"unknown environment", "prod", orders, digestA, "", `there is no environment "prod" in pipeline shop`},
		{"unknown registry", "lost", orders, digestA, "", "environment lost has no registry"},
		{
			"too long", "dev",
			Location{Registry: "dev", Repo: strings.Repeat("a", 250)},
			digestA, "",
			"image dev.registry.example/shop/" + strings.Repeat("a", 54) + "…: the name is longer than 255 characters in the registry of dev; shorten the registry's prefix",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := p.Pinned(test.environment, test.location, test.digest)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if got != test.want || message != test.wantErr {
				t.Errorf("got %q, error %q; want %q, error %q", got, message, test.want, test.wantErr)
			}
		})
	}
}

func TestUpstreamEndpoint(t *testing.T) {
	p := referencePipeline()
	for host, want := range map[string]string{
		"quay.io":      "https://cache.example/quay",
		"docker.io":    "https://index.docker.io",
		"ghcr.io":      "https://ghcr.io",
		"localhost:80": "https://localhost:80",
	} {
		if got := p.UpstreamEndpoint(host); got != want {
			t.Errorf("%s is reached at %s, want %s", host, got, want)
		}
	}
}

// FuzzLocate checks that what can be located can be pinned, and that a pinned
// reference is found again where it was put.
func FuzzLocate(f *testing.F) {
	for _, image := range []string{
		"redis", "redis:7", "dev.registry.example/shop/orders:1", "localhost:5000/a/b@" + digestA,
		"[::1]:80/a", "QUAY.io/a", "a/b/c:d@" + digestA, "user:pass@host/x", "xn--a.example/a__b---c",
	} {
		f.Add(image)
	}
	p := referencePipeline()
	f.Fuzz(func(t *testing.T, image string) {
		l, err := p.Locate(image)
		if err != nil {
			return
		}
		digest := l.Digest
		if digest == "" {
			digest = digestA
		}
		pinned, err := p.Pinned("stage", l, digest)
		if err != nil {
			if !strings.Contains(err.Error(), "longer than") {
				t.Errorf("%q cannot be pinned: %v", image, err)
			}
			return
		}
		if _, err := reference.ParseNormalizedNamed(pinned); err != nil {
			t.Errorf("%q is pinned to %q: %v", image, pinned, err)
		}
		again, err := p.Locate(pinned)
		if err != nil {
			t.Fatalf("%q is pinned to %q: %v", image, pinned, err)
		}
		want := Location{Registry: "stage", Repo: l.TargetRepo(), Digest: digest}
		if diff := cmp.Diff(want, again); diff != "" {
			t.Errorf("%q is pinned to %q, found again (-want +got):\n%s", image, pinned, diff)
		}
	})
}
