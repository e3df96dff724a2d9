package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Referrer is the entry of m in a list of referrers.
func (m Manifest) Referrer(parts Parts) Descriptor {
	d := m.Descriptor()
	d.ArtifactType = parts.ArtifactType
	d.Annotations = parts.Annotations
	return d
}

// IsReferrersTag reports whether a tag is the fallback list of some digest's
// referrers (see [ReferrersTag]).
func IsReferrersTag(tag string) bool {
	digits, ok := strings.CutPrefix(tag, "sha256-")
	return ok && IsDigest("sha256:"+digits)
}

// AddReferrer returns the fallback list with one more entry, and whether that
// changed it. A zero Manifest is an empty list. Entries are added in order of
// their digests, so the same set gives the same bytes however it came about.
func AddReferrer(list Manifest, entry Descriptor) (Manifest, bool, error) {
	var entries []Descriptor
	annotations := map[string]string(nil)
	if len(list.Raw) > 0 {
		parts, err := list.Parse()
		if err != nil {
			return Manifest{}, false, fmt.Errorf("list of referrers: %w", err)
		}
		entries, annotations = parts.Children, parts.Annotations
	}
	place := len(entries)
	for i, e := range entries {
		if e.Digest == entry.Digest {
			return list, false, nil
		}
		if e.Digest > entry.Digest {
			place = min(place, i)
		}
	}
	raw, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []Descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, MediaTypeOCIIndex, slices.Insert(entries, place, entry), annotations})
	if err != nil {
		return Manifest{}, false, fmt.Errorf("list of referrers: %w", err)
	}
	if len(raw) > MaxManifestSize {
		return Manifest{}, false, fmt.Errorf("list of referrers would exceed %d bytes", MaxManifestSize)
	}
	return Manifest{MediaType: MediaTypeOCIIndex, Raw: raw}, true, nil
}
