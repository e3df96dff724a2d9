package registry_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

func TestParseRefuses(t *testing.T) {
	good := registry.Digest(nil)
	for name, raw := range map[string]string{
		"nothing":            ``,
		"no object":          `[]`,
		"schema 1":           `{"schemaVersion":1}`,
		"sha512":             `{"schemaVersion":2,"manifests":[{"digest":"sha512:00"}]}`,
		"path for a digest":  `{"schemaVersion":2,"layers":[{"digest":"../../x"}]}`,
		"upper case digest":  `{"schemaVersion":2,"layers":[{"digest":"` + strings.ToUpper(good) + `"}]}`,
		"negative size":      `{"schemaVersion":2,"config":{"digest":"` + good + `","size":-1}}`,
		"subject without":    `{"schemaVersion":2,"subject":{}}`,
		"content after it":   `{"schemaVersion":2} {"schemaVersion":2}`,
		"layers and entries": `{"schemaVersion":2,"manifests":[{"digest":"` + good + `"}],"layers":[{"digest":"` + good + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if parts, err := (registry.Manifest{Raw: []byte(raw)}).Parse(); err == nil {
				t.Errorf("accepted as %+v", parts)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	image, err := imagebuild.Image(imagebuild.Spec{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image.Manifest.Raw)
	f.Add(imagebuild.IndexOf([]imagebuild.Built{image}, true).Manifest.Raw)
	f.Add(imagebuild.Signature(image.Manifest.Descriptor(), "s").Manifest.Raw)
	f.Add([]byte(`{"schemaVersion":2,"layers":[{"digest":"sha256:0"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := registry.Manifest{MediaType: registry.MediaTypeOCIManifest, Raw: raw}
		parts, err := m.Parse()
		if err != nil {
			return
		}
		all := append(append([]registry.Descriptor{}, parts.Children...), parts.Blobs...)
		if parts.Subject != nil {
			all = append(all, *parts.Subject)
		}
		for _, d := range all {
			if !registry.IsDigest(d.Digest) || d.Size < 0 {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}

func FuzzAddReferrer(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entry := registry.Descriptor{MediaType: registry.MediaTypeOCIManifest, Digest: registry.Digest([]byte("x")), Size: 1}
		list, _, err := registry.AddReferrer(registry.Manifest{MediaType: registry.MediaTypeOCIIndex, Raw: raw}, entry)
		if err != nil {
			return
		}
		again, changed, err := registry.AddReferrer(list, entry)
		if err != nil || changed || !bytes.Equal(again.Raw, list.Raw) {
			t.Fatalf("adding twice: changed %v, %v", changed, err)
		}
	})
}

func TestVerify(t *testing.T) {
	const text = "some content"
	digest := registry.Digest([]byte(text))
	for name, test := range map[string]struct {
		content string
		size    int64
		ok      bool
	}{
		"right":               {text, int64(len(text)), true},
		"right, size unknown": {text, -1, true},
		"wrong":               {"same content", int64(len(text)), false},
		"wrong, size unknown": {"same content", -1, false},
		"short":               {text[:5], int64(len(text)), false},
		"long":                {text + "!", int64(len(text)), false},
		"empty":               {"", int64(len(text)), false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, reader := range []io.Reader{strings.NewReader(test.content), iotest.OneByteReader(strings.NewReader(test.content)), iotest.DataErrReader(strings.NewReader(test.content))} {
				got, err := io.ReadAll(registry.Verify(io.NopCloser(reader), digest, test.size))
				if test.ok {
					if diff := cmp.Diff(text, string(got)); diff != "" || err != nil {
						t.Errorf("(-want +got):\n%s%v", diff, err)
					}
					continue
				}
				if !errors.Is(err, registry.ErrDigestMismatch) {
					t.Errorf("error %v, want ErrDigestMismatch", err)
				}
				if test.size >= 0 && int64(len(got)) >= test.size {
					t.Errorf("handed out %d bytes of wrong content", len(got))
				}
			}
		})
	}
}
