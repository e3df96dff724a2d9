package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/sigstore"
)

// Bounds of looking for signatures.
const (
	// signaturesTimeout is of one judgement, of all images.
	signaturesTimeout = time.Minute
	// maxSignatures bounds what is read for one image; an image has a signature or
	// two, and a few statements beside them.
	maxSignatures = 64
	// parallelImages bounds how many images are looked at together.
	parallelImages = 6
)

// SignaturesOptions say whose signatures a [Signatures] gate wants, and of which
// images.
type SignaturesOptions struct {
	// Policy says whose signatures count. Required.
	Policy *sigstore.Policy
	// Registry is that of each Image's Reference. Required.
	Registry registry.Reader
	// Images are patterns of Image.Name, in which * stands for any characters.
	// Default: the pipeline's own images.
	Images []string
	// Command signs what is appended to it; it is what a person is told to type.
	Command string
	// Proven, when set, remembers signed images under the name PolicyID, which
	// says what the policy was made of.
	Proven   *Proven
	PolicyID string
}

// Signatures wants images to be signed: each by at least one signature that is
// valid, of the digest as it stands in the lock. They are looked for where the
// image is, in both places where cosign puts them: bundles that refer to the
// image, and the tag sha256-<digest>.sig.
//
// An image without a signature waits for one; one that has only others is
// refused. A registry that does not answer is unknown, as are images none of
// which is looked at.
type Signatures struct{ SignaturesOptions }

var _ Gate = (*Signatures)(nil)

// NewSignatures reports what is missing.
func NewSignatures(o SignaturesOptions) (*Signatures, error) {
	if o.Policy == nil || o.Registry == nil {
		return nil, errors.New("signatures: neither whose signatures count nor where the images are may be left open")
	}
	return &Signatures{o}, nil
}

// Judge reads the registry.
func (g *Signatures) Judge(ctx context.Context, s Subject) Verdict {
	ctx, cancel := context.WithTimeout(ctx, signaturesTimeout)
	defer cancel()
	var images []Image
	for _, image := range s.Images {
		if g.wants(image) {
			images = append(images, image)
		}
	}
	switch {
	case len(s.Images) == 0:
		return settle(ctx, passUntil(time.Time{}, "there are no images"))
	case len(images) == 0 && len(g.Images) == 0:
		return unknown("none of %d images is in a registry of the pipeline; name those that have to be signed (images: [docker.io/*])", len(s.Images))
	case len(images) == 0:
		return unknown("none of %d images has a name like %s; correct images:", len(s.Images), strings.Join(g.Images, " or "))
	}
	found := make([]Verdict, len(images))
	var group errgroup.Group
	group.SetLimit(parallelImages)
	for i, image := range images {
		group.Go(func() error {
			found[i] = g.judgeImage(ctx, image, s.Now)
			return nil
		})
	}
	_ = group.Wait() // no function fails
	return settle(ctx, summarize(found))
}

func (g *Signatures) wants(image Image) bool {
	if len(g.Images) == 0 {
		return image.Own
	}
	return slices.ContainsFunc(g.Images, func(pattern string) bool { return sigstore.Matches(pattern, image.Name) })
}

// summarize is the worst verdict of several, with the number of others like it.
func summarize(found []Verdict) Verdict {
	for _, result := range []Result{Refuse, Wait, Unknown} {
		var like []Verdict
		for _, v := range found {
			if v.Result == result {
				like = append(like, v)
			}
		}
		if len(like) == 0 {
			continue
		}
		if others := len(like) - 1; others > 0 {
			like[0].Detail = fmt.Sprintf("%d of %d images: %s", len(like), len(found), like[0].Detail)
		}
		return like[0]
	}
	var who []string
	for _, v := range found {
		if !slices.Contains(who, v.Detail) {
			who = append(who, v.Detail)
		}
	}
	text := fmt.Sprintf("%d images, signed by %s", len(found), strings.Join(who, ", "))
	if len(found) == 1 {
		text = "1 image, signed by " + who[0]
	}
	return passUntil(time.Time{}, "%s", oneLine(text))
}

// judgeImage looks for a valid signature of one image.
func (g *Signatures) judgeImage(ctx context.Context, image Image, now time.Time) Verdict {
	key := g.Registry.Name() + "/" + image.Repo + "@" + image.Digest + " " + g.PolicyID
	if who, ok := g.Proven.get(key, now); ok {
		return passUntil(time.Time{}, "%s", who)
	}
	l := &look{gate: g, image: image}
	if err := l.everywhere(ctx); err != nil {
		return unknown("%s: %s", image.Reference, oneLine(err.Error()))
	}
	switch {
	case l.who != "":
		g.Proven.put(key, l.who, now)
		return passUntil(time.Time{}, "%s", l.who)
	case l.wrong != nil:
		return Verdict{Result: Refuse, Detail: fmt.Sprintf("%s has no signature that counts: %s", image.Reference, oneLine(l.wrong.Error()))}
	}
	return waitUntil(time.Time{}, "not signed: %s %s", g.Command, image.Reference)
}
