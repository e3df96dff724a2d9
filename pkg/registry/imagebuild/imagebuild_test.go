package imagebuild_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

func spec() imagebuild.Spec {
	return imagebuild.Spec{
		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
		Layers:    []imagebuild.Files{{"base/a": "1", "base/b": "2"}},
		Files:     imagebuild.Files{"app": "x"},
		Labels:    map[string]string{imagebuild.LabelSource: "https://git.example/orders", imagebuild.LabelRevision: "abc"},
		Created:   "2026-01-02T03:04:05Z",
	}
}

func TestSameBytes(t *testing.T) {
	first, err := imagebuild.Index(spec())
	if err != nil {
		t.Fatal(err)
	}
	second, err := imagebuild.Index(spec())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("two builds differ:\n%s", diff)
	}
	parts, err := first.Manifest.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if len(parts.Children) != 2 || parts.Children[0].Platform.String() != "linux/amd64" || parts.Children[0].Digest == parts.Children[1].Digest {
		t.Errorf("children %+v", parts.Children)
	}
	shared := 0
	for digest := range first.Children[0].Blobs {
		if _, ok := first.Children[1].Blobs[digest]; ok {
			shared++
		}
	}
	if shared != 1 {
		t.Errorf("%d blobs shared by the platforms, want the lower layer", shared)
	}
}

func TestPathsStayBelowTheRoot(t *testing.T) {
	for _, path := range []string{"/etc/passwd", "../x", "a/../../x"} {
		if _, err := imagebuild.Image(imagebuild.Spec{Files: imagebuild.Files{path: ""}}); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
}
