package hotfix

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// registryOf knows which images the hotfix brought, and one service.
type registryOf struct {
	images  []snapshot.Image
	service *gitrepo.Memory
	err     error
}

func (f registryOf) Of(context.Context, snapshot.Hotfix) ([]snapshot.Image, error) {
	return f.images, nil
}

func (f registryOf) Repository(image string) (gitrepo.Reader, error) {
	if f.err != nil || image != "example/orders" || f.service == nil {
		return nil, f.err
	}
	return f.service, nil
}

func image(requested string, revision gitrepo.Hash) snapshot.Image {
	return snapshot.Image{Requested: requested, Digest: "sha256:" + requested, Origin: &snapshot.Origin{Source: "https://git.example/orders", Revision: string(revision)}}
}

// TestImageRevision: where a hotfix and a release have both changed an image, the
// release has the fix if its image was built from later code.
func TestImageRevision(t *testing.T) {
	t.Parallel()
	service := newHistory(t)
	old := service.commit("old", files{"main.go": "1"})
	fix := service.commit("fix", files{"main.go": "2"}, old)
	later := service.commit("later", files{"main.go": "3"}, fix)
	elsewhere := service.commit("elsewhere", files{"main.go": "4"}, old)

	manifest := func(image, log string) files {
		return files{"orders.yaml": "kind: Deployment\nimage: " + image + "\na: 1\nb: 2\nc: 3\nd: 4\nlog: " + log + "\n"}
	}
	fixed := []snapshot.Image{image("example/orders:fix", fix)}
	tests := map[string]struct {
		theirs, ours files
		place        []snapshot.Image
		images       registryOf
		want         Answer
		words        []string
	}{
		"later": {
			place: []snapshot.Image{image("example/orders:v2", later)}, want: Contained, words: []string{"contained (image revision " + later.Short()},
		},
		"the same commit, built again": {
			place: []snapshot.Image{image("example/orders:v2", fix)}, want: Contained,
		},
		"a branch without the fix": {
			place: []snapshot.Image{image("example/orders:v2", elsewhere)}, want: Unknown, words: []string{`"image: example/orders:v2"`},
		},
		"older": {
			place: []snapshot.Image{image("example/orders:v2", old)}, want: Unknown,
		},
		"a commit that is nowhere": {
			place: []snapshot.Image{image("example/orders:v2", gitrepo.Hash(strings.Repeat("a", 40)))}, want: Unknown, words: []string{"the repository of example/orders does not have aaaaaaa"},
		},
		"no label": {
			place: []snapshot.Image{{Requested: "example/orders:v2", Digest: "sha256:2"}}, want: Unknown,
		},
		"a label that is no commit": {
			place: []snapshot.Image{image("example/orders:v2", "v2")}, want: Unknown,
		},
		"built elsewhere": {
			place: []snapshot.Image{{Requested: "example/orders:v2", Origin: &snapshot.Origin{Source: "https://evil.example", Revision: string(later)}}}, want: Unknown,
		},
		"another image": {
			ours:  manifest("example/other:v2", "info"),
			place: []snapshot.Image{image("example/other:v2", later)}, want: Unknown,
		},
		"no repository": {
			place: []snapshot.Image{image("example/orders:v2", later)}, images: registryOf{images: fixed}, want: Unknown,
		},
		"the repository is down": {
			place: []snapshot.Image{image("example/orders:v2", later)}, images: registryOf{images: fixed, err: errors.New("no route to host")}, want: Unknown,
			words: []string{"the repository of example/orders could not be asked: no route to host"},
		},
		"the rest of the hotfix is missing": {
			theirs: manifest("example/orders:fix", "debug"),
			place:  []snapshot.Image{image("example/orders:v2", later)}, want: Missing, words: []string{"missing: it would change orders.yaml"},
		},
		"the rest of the hotfix is there": {
			theirs: manifest("example/orders:fix", "debug"), ours: manifest("example/orders:v2", "debug"),
			place: []snapshot.Image{image("example/orders:v2", later)}, want: Contained,
		},
		"the rest of the hotfix conflicts": {
			theirs: manifest("example/orders:fix", "debug"), ours: manifest("example/orders:v2", "warn"),
			place: []snapshot.Image{image("example/orders:v2", later)}, want: Unknown,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t)
			if tt.theirs == nil {
				tt.theirs = manifest("example/orders:fix", "info")
			}
			if tt.ours == nil {
				tt.ours = manifest("example/orders:v2", "info")
			}
			if tt.images.images == nil {
				tt.images = registryOf{images: fixed, service: service.client()}
			}
			base := h.commit("released", manifest("example/orders:v1", "info"))
			head := h.commit("fix", tt.theirs, base)
			main := h.commit("v2", tt.ours, base)
			place := h.place("shop/v2.0.0", main)
			place.Images = tt.place
			r := h.client()
			h.fetch(r, main)
			place.Origins = tt.images
			found, err := Find(t.Context(), r, snapshot.Debt{Hotfix: snapshot.Hotfix{Name: "pay", Base: base, Head: head}}, place)
			if err != nil {
				t.Fatal(err)
			}
			if found.Answer != tt.want {
				t.Errorf("it is %s, not %s", found, tt.want)
			}
			mustContain(t, found.String(), tt.words...)
		})
	}
}

// TestImageRevisionOfTags: kustomize and Helm write the tag alone, which may be that
// of several images.
func TestImageRevisionOfTags(t *testing.T) {
	t.Parallel()
	service := newHistory(t)
	fix := service.commit("fix", files{"main.go": "2"})
	later := service.commit("later", files{"main.go": "3"}, fix)
	for name, tt := range map[string]struct {
		brought []snapshot.Image
		want    Answer
	}{
		"one":                       {brought: []snapshot.Image{image("example/orders:fix", fix)}, want: Contained},
		"of another image as well":  {brought: []snapshot.Image{image("example/orders:fix", fix), image("example/other:fix", fix)}, want: Unknown},
		"of nothing that is in use": {brought: []snapshot.Image{image("example/orders:x", fix)}, want: Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t)
			content := func(tag string) files {
				return files{"kustomization.yaml": "images:\n- name: example/orders\n  newTag: \"" + tag + "\"\n"}
			}
			base := h.commit("released", content("v1"))
			head, main := h.commit("fix", content("fix"), base), h.commit("v2", content("v2"), base)
			place := h.place("shop/v2.0.0", main)
			place.Images = []snapshot.Image{image("example/orders:v2", later)}
			r := h.client()
			h.fetch(r, main)
			place.Origins = registryOf{images: tt.brought, service: service.client()}
			found, err := Find(t.Context(), r, snapshot.Debt{Hotfix: snapshot.Hotfix{Name: "pay", Base: base, Head: head}}, place)
			if err != nil || found.Answer != tt.want {
				t.Errorf("it is %s, %v, not %s", found, err, tt.want)
			}
		})
	}
}

func TestBrought(t *testing.T) {
	t.Parallel()
	same, moved := image("example/same:1", "1"), image("example/moved:1", "1")
	below := &snapshot.Lock{Images: []snapshot.Image{moved, same}}
	moved.Digest = "sha256:2"
	composed := &snapshot.Lock{Images: []snapshot.Image{moved, image("example/new:1", "1"), same}}
	got := Brought(composed, below)
	if len(got) != 2 || got[0].Requested != "example/moved:1" || got[1].Requested != "example/new:1" {
		t.Errorf("brought %v", got)
	}
}
