package hotfix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Origins tells what is needed to compare images by what they were built from.
type Origins interface {
	// Of returns the images that a hotfix brought: those of the snapshot that was
	// composed with it which the snapshot below does not have. None when that
	// cannot be told any more.
	Of(ctx context.Context, h snapshot.Hotfix) ([]snapshot.Image, error)
	// Repository opens the Git repository in which an image, given as manifests
	// write it without tag and digest, is built. Nil when nobody has said so.
	Repository(image string) (gitrepo.Reader, error)
}

// Brought lists the images of a composed snapshot's lock that the lock below
// does not have.
func Brought(composed, below *snapshot.Lock) []snapshot.Image {
	var brought []snapshot.Image
	for _, image := range composed.Images {
		if old, ok := below.Image(image.Requested); !ok || old.Digest != image.Digest {
			brought = append(brought, image)
		}
	}
	return brought
}

// serviceDepths is how many generations of the repository of a service are
// searched: first the usual, then the most. Commits alone are fetched.
var serviceDepths = []int{64, 1024}

// searchImages answers a conflict that is about nothing but images: the place has
// the hotfix if each of its images there was built from a commit that comes
// after that of the hotfix's image. Then the lines of the place count as those of
// the hotfix, and the rest of it is looked for as always.
func searchImages(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place, base, head gitrepo.Hash, c *Containment) error {
	if in.Origins == nil || len(in.Images) == 0 {
		return nil
	}
	brought, err := in.Origins.Of(ctx, d.Hotfix)
	if err != nil || len(brought) == 0 {
		return err
	}
	proof := imageProof{origins: in.Origins, brought: brought, place: in.Images}
	defer func() { c.Doubt = proof.doubt }()
	settled := map[string][]byte{}
	for _, group := range byFile(c.Conflicts) {
		path, text, ok, err := proof.settle(ctx, r, in.Tree, head, group)
		if err != nil || !ok {
			return err
		}
		settled[path] = text
	}
	tree, objects, err := gitrepo.WriteFiles(r, head, settled)
	if err != nil {
		return err
	}
	rest, err := merge.Trees(gitrepo.With(r, objects...), base, in.Tree, tree, options(in.Name, d.Hotfix))
	if err != nil {
		return err
	}
	switch c.Changes, c.Conflicts = rest.Changes, rest.Conflicts; {
	case rest.Empty():
		c.Answer, c.Evidence, c.Commit = Contained, ImageRevision, proof.revision
	case rest.Clean():
		c.Answer = Missing
	}
	return nil
}

// byFile groups conflicts, which are sorted, by their file.
func byFile(conflicts []merge.Conflict) [][]merge.Conflict {
	var groups [][]merge.Conflict
	for i, c := range conflicts {
		if i == 0 || c.Path != conflicts[i-1].Path {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], c)
	}
	return groups
}

// imageProof compares images by the commits that they were built from.
type imageProof struct {
	origins        Origins
	brought, place []snapshot.Image
	// revision that proved the last of them; doubt is why one could not be had.
	revision gitrepo.Hash
	doubt    string
}

// settle writes the hotfix's file with the lines of the place wherever those have
// newer images. It is false when some conflict is about something else.
func (p *imageProof) settle(ctx context.Context, r gitrepo.Objects, ours, theirs gitrepo.Hash, conflicts []merge.Conflict) (string, []byte, bool, error) {
	path := conflicts[0].Path
	first := conflicts[0]
	from, to := orPath(first.Ours.Path, path), orPath(first.Theirs.Path, path)
	there, err := lines(r, ours, from)
	if err != nil {
		return "", nil, false, err
	}
	own, err := lines(r, theirs, to)
	if err != nil {
		return "", nil, false, err
	}
	for _, c := range slices.Backward(conflicts) { // from below, so that line numbers stay
		if c.Kind != merge.KindContent || c.Ours.First < 1 || c.Theirs.First < 1 || c.Ours.Last > len(there) || c.Theirs.Last > len(own) {
			return "", nil, false, nil
		}
		old, now := own[c.Theirs.First-1:c.Theirs.Last], there[c.Ours.First-1:c.Ours.Last]
		if ok, err := p.newer(ctx, old, now); err != nil || !ok {
			return "", nil, false, err
		}
		own = slices.Replace(own, c.Theirs.First-1, c.Theirs.Last, now...)
	}
	return to, []byte(strings.Join(own, "")), true, nil
}

func orPath(path, otherwise string) string {
	if path == "" {
		return otherwise
	}
	return path
}

// lines reads a file's lines with their ends; none where it is no file.
func lines(r gitrepo.Objects, tree gitrepo.Hash, path string) ([]string, error) {
	entry, err := gitrepo.Lookup(r, tree, path)
	if err != nil {
		return nil, err
	}
	if entry.Mode != gitrepo.ModeFile && entry.Mode != gitrepo.ModeExecutable {
		return nil, nil
	}
	object, err := r.Object(entry.ID)
	if err != nil {
		return nil, err
	}
	return strings.SplitAfter(string(object.Data), "\n"), nil
}

// newer reports whether lines differ in nothing but images, and each of those in
// now was built from a commit that comes after that of the one in old.
func (p *imageProof) newer(ctx context.Context, old, now []string) (bool, error) {
	if len(old) != len(now) {
		return false, nil
	}
	for i := range old {
		a, b := words(old[i]), words(now[i])
		if len(a) != len(b) {
			return false, nil
		}
		for j := range a {
			if a[j] == b[j] {
				continue
			}
			if ok, err := p.after(ctx, a[j], b[j]); err != nil || !ok {
				return false, err
			}
		}
	}
	return true, nil
}

// words cuts a line into what may be values.
func words(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',{}[]", r) })
}

// after reports whether the images that a word stands for (a reference, or its tag
// or digest alone) were built before those of the other word. Where a tag is that
// of several images, all of them must be.
func (p *imageProof) after(ctx context.Context, old, now string) (bool, error) {
	proven := false
	for _, was := range p.brought {
		if !means(old, was) {
			continue
		}
		name, _, _ := parts(was.Requested)
		i := slices.IndexFunc(p.place, func(is snapshot.Image) bool {
			other, _, _ := parts(is.Requested)
			return other == name && means(now, is)
		})
		if i < 0 {
			return false, nil
		}
		if ok, err := p.descends(ctx, name, was, p.place[i]); err != nil || !ok {
			return false, err
		}
		proven = true
	}
	return proven, nil
}

// means reports whether a word of a manifest stands for an image.
func means(word string, image snapshot.Image) bool {
	_, tag, digest := parts(image.Requested)
	return word == image.Requested || word == tag && tag != "" || word == digest && digest != ""
}

// parts of a reference as manifests write it.
func parts(reference string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, tag = name[:colon], name[colon+1:]
	}
	return name, tag, digest
}

// descends reports whether an image was built from the commit of another one, or
// from one that comes after it.
func (p *imageProof) descends(ctx context.Context, name string, was, is snapshot.Image) (bool, error) {
	if was.Origin == nil || is.Origin == nil || was.Origin.Source != is.Origin.Source {
		return false, nil
	}
	old, now := gitrepo.Hash(was.Origin.Revision), gitrepo.Hash(is.Origin.Revision)
	if !old.Valid() || !now.Valid() {
		return false, nil
	}
	if old == now {
		p.revision = now
		return true, nil
	}
	repo, err := p.origins.Repository(name)
	if repo == nil || err != nil {
		return false, p.doubtful(ctx, name, err)
	}
	for _, depth := range serviceDepths {
		err := repo.Fetch(ctx, []gitrepo.Hash{now}, gitrepo.FetchOptions{Depth: depth, CommitsOnly: true})
		if errors.Is(err, gitrepo.ErrNotFound) {
			p.doubt = fmt.Sprintf("the repository of %s does not have %s, of which the image of the release was built", name, now.Short())
			return false, nil // a label proves nothing by itself
		}
		if err != nil {
			return false, p.doubtful(ctx, name, err)
		}
		history, err := reach(repo, now, 0)
		if err != nil {
			return false, p.doubtful(ctx, name, err)
		}
		if _, ok := history[old]; ok {
			p.revision = now
			return true, nil
		}
	}
	return false, nil
}

// doubtful notes that the repository of a service could not be asked. That of the
// pipeline goes on without it.
func (p *imageProof) doubtful(ctx context.Context, image string, err error) error {
	if err != nil && ctx.Err() == nil {
		p.doubt = fmt.Sprintf("the repository of %s could not be asked: %v", image, err)
		return nil
	}
	return err
}
