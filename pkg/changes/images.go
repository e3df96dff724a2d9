package changes

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Image is one image that applications get in place of another.
type Image struct {
	// Name as manifests write it, without tag and digest.
	Name   string `json:"name"`
	Change Kind   `json:"change"`
	// From is nil for an added image, To for a removed one.
	From *Build `json:"from,omitempty"`
	To   *Build `json:"to,omitempty"`
	// Source is the repository of the code, by the newer image's label.
	Source string `json:"source,omitempty"`
	// CompareURL shows the change of the code, where Source is on a host whose
	// addresses are known.
	CompareURL string `json:"compareURL,omitempty"`
	// UsedBy lists the environment/application for which this holds, sorted.
	UsedBy []string `json:"usedBy"`
}

// Build is one image as a lock has it.
type Build struct {
	// Tag as manifests write it; empty for a reference with a digest alone, and
	// "latest" for one with neither.
	Tag    string `json:"tag,omitempty"`
	Digest string `json:"digest"`
	// Revision of the code, by the image's label.
	Revision string `json:"revision,omitempty"`

	source string
}

// Images lists what applications get in place of what they had, sorted by name.
// Names of environments limit it to their applications.
func Images(a, b Side, environments ...string) []Image {
	type pair struct{ from, to snapshot.Image }
	users := map[string][]string{} // by pair
	pairs := map[string]pair{}
	before, after := byUser(a.images(), environments), byUser(b.images(), environments)
	note := func(user string, from, to snapshot.Image) {
		key := strings.Join([]string{from.Requested, from.Digest, to.Requested, to.Digest}, "\x00")
		pairs[key] = pair{from, to}
		users[key] = append(users[key], user)
	}
	for u, old := range before {
		now := after[u]
		gone, come := without(old, now), without(now, old)
		for i := range max(len(gone), len(come)) {
			var from, to snapshot.Image
			if i < len(gone) {
				from = gone[i]
			}
			if i < len(come) {
				to = come[i]
			}
			note(u.user, from, to)
		}
	}
	for u, now := range after {
		if _, ok := before[u]; ok {
			continue
		}
		for _, to := range now {
			note(u.user, snapshot.Image{}, to)
		}
	}
	images := make([]Image, 0, len(pairs))
	for key, p := range pairs {
		slices.Sort(users[key])
		images = append(images, newImage(p.from, p.to, slices.Compact(users[key])))
	}
	slices.SortFunc(images, func(x, y Image) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.order(), y.order()), slices.Compare(x.UsedBy, y.UsedBy))
	})
	return images
}

// use is a place in which one of the images of a repository can be.
type use struct{ user, name string }

// byUser lists images by who uses them, in the order of the lock.
func byUser(images []snapshot.Image, environments []string) map[use][]snapshot.Image {
	all := map[use][]snapshot.Image{}
	for _, image := range images {
		name, _ := split(image.Requested)
		for _, user := range image.UsedBy {
			environment, _, _ := strings.Cut(user, "/")
			if len(environments) == 0 || slices.Contains(environments, environment) {
				all[use{user, name}] = append(all[use{user, name}], image)
			}
		}
	}
	return all
}

// without returns the images that others do not have.
func without(images, others []snapshot.Image) []snapshot.Image {
	var rest []snapshot.Image
	for _, image := range images {
		if !slices.ContainsFunc(others, func(o snapshot.Image) bool {
			return o.Requested == image.Requested && o.Digest == image.Digest
		}) {
			rest = append(rest, image)
		}
	}
	return rest
}

// split cuts a reference into its name and its tag.
func split(reference string) (name, tag string) {
	name, _, digested := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	if digested {
		return name, ""
	}
	return name, "latest"
}

func newImage(from, to snapshot.Image, usedBy []string) Image {
	image := Image{Change: Changed, From: build(from), To: build(to), UsedBy: usedBy}
	image.Name, _ = split(cmp.Or(to.Requested, from.Requested))
	switch {
	case image.From == nil:
		image.Change, image.Source = Added, image.To.source
	case image.To == nil:
		image.Change, image.Source = Removed, image.From.source
	default:
		image.Source = cmp.Or(image.To.source, image.From.source)
		// Revisions of two repositories cannot be compared.
		if image.From.source == "" || image.To.source == "" || webAddress(image.From.source) == webAddress(image.To.source) {
			image.CompareURL = CompareURL(image.Source, image.From.Revision, image.To.Revision)
		}
	}
	return image
}

func build(image snapshot.Image) *Build {
	if image.Requested == "" {
		return nil
	}
	_, tag := split(image.Requested)
	b := &Build{Tag: tag, Digest: image.Digest}
	if image.Origin != nil {
		b.Revision, b.source = image.Origin.Revision, image.Origin.Source
	}
	return b
}

func (i Image) order() string {
	var all []string
	for _, b := range []*Build{i.From, i.To} {
		if b == nil {
			b = &Build{}
		}
		all = append(all, b.Tag, b.Digest)
	}
	return strings.Join(all, "\x00")
}
