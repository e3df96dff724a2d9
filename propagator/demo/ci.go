package demo

import (
	"context"
	"crypto/sha1" //nolint:gosec // names invented commits, as git does
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// ci plays the pipelines of the services: it builds images, pushes them to the
// first environment's registry, and writes their tags into the GitOps
// repository's main branch.
type ci struct {
	repo       gitrepo.Repo
	branch     string
	registries promotion.Registries
	now        func() time.Time
	// pipeline and artifacts are known after the first look at the repository.
	pipeline  *config.Pipeline
	artifacts []artifact
	builds    int
	// signatures are what was pushed as a referrer, by the image's digest.
	signatures map[string]signature
}

// signature is a referrer and the repository it is in.
type signature struct {
	location config.Location
	digest   string
}

// artifact is an image that the manifests use.
type artifact struct {
	location config.Location
	// tag that the repository names now.
	tag string
	// own is false for third-party images.
	own bool
}

func (s artifact) name() string { return s.location.Repo }

// look finds out which images the repository uses, by rendering the first
// environment.
func (c *ci) look(ctx context.Context) error {
	tip, tree, err := c.tip(ctx)
	if err != nil {
		return err
	}
	if c.pipeline, err = snapshot.ReadConfig(c.repo, tree); err != nil {
		return err
	}
	files := gitrepo.TreeFS(c.repo, tree)
	references := map[string]bool{}
	for _, environment := range c.pipeline.Environments {
		applications, err := render.Discover(files, environment)
		if err != nil {
			return err
		}
		for _, application := range applications {
			out, err := render.Render(ctx, render.Input{FS: files, Application: application, Capabilities: environment.Capabilities, Images: c.pipeline.Images})
			if err != nil {
				return err
			}
			images, err := out.Images()
			if err != nil {
				return err
			}
			for _, image := range images {
				references[image.Reference] = true
			}
		}
	}
	c.artifacts = nil
	for reference := range references {
		location, err := c.pipeline.Locate(reference)
		if err != nil {
			return err
		}
		if location.Digest != "" {
			return fmt.Errorf("commit %s: image %s is given by digest; the demo cannot build it", tip.Short(), reference)
		}
		c.artifacts = append(c.artifacts, artifact{location: location, tag: location.Tag, own: location.Registry != ""})
	}
	slices.SortFunc(c.artifacts, func(a, b artifact) int { return strings.Compare(a.name(), b.name()) })
	return nil
}

func (c *ci) tip(ctx context.Context) (commit, tree gitrepo.Hash, err error) {
	refs, err := c.repo.Refs(ctx)
	if err != nil {
		return "", "", err
	}
	tip := refs[gitrepo.Heads+c.branch]
	if tip == "" {
		return "", "", fmt.Errorf("no branch %s", c.branch)
	}
	if err := c.repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return "", "", err
	}
	at, err := gitrepo.ReadCommit(c.repo, tip)
	return tip, at.Tree, err
}

// seed puts a folder into the empty repository as its first commit.
func (c *ci) seed(ctx context.Context, content fs.FS) error {
	files := map[string][]byte{}
	err := fs.WalkDir(content, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if err == nil && entry.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		files[name], err = fs.ReadFile(content, name)
		return err
	})
	if err != nil {
		return err
	}
	return c.commit(ctx, "", "", files, "the shop's GitOps repository", gitrepo.Signature{Name: "Shop Team", Email: "team@shop.example"})
}

// release builds the services anew (all of them when none is named), pushes
// them and writes their tags into the repository.
func (c *ci) release(ctx context.Context, names ...string) error {
	tip, tree, err := c.tip(ctx)
	if err != nil {
		return err
	}
	c.builds++
	var built []string
	changed := map[string][]byte{}
	for i, s := range c.artifacts {
		if len(names) > 0 && !slices.Contains(names, s.name()) {
			continue
		}
		revision := inventCommit(s.name(), c.builds)
		if err := c.push(ctx, s, revision, "latest", revision[:7]); err != nil {
			return err
		}
		if s.tag != "latest" && s.own {
			if err := c.edit(tree, s.tag, revision[:7], changed); err != nil {
				return err
			}
			c.artifacts[i].tag = revision[:7]
		}
		built = append(built, s.name()+" "+revision[:7])
	}
	message := "ci: " + strings.Join(built, ", ")
	return c.commit(ctx, tip, tree, changed, message, gitrepo.Signature{Name: "Shop CI", Email: "ci@shop.example"})
}

// publish pushes the images that the repository names when the demo begins,
// third-party ones included.
func (c *ci) publish(ctx context.Context) error {
	for _, s := range c.artifacts {
		revision := inventCommit(s.name(), 0)
		tags := []string{s.tag}
		if s.own && s.tag != "latest" {
			revision = s.tag + revision[len(s.tag):]
			tags = append(tags, "latest")
		}
		if err := c.push(ctx, s, revision, tags...); err != nil {
			return err
		}
	}
	return nil
}

// push builds one service's image for two platforms and pushes it. The first
// service's image gets a signature.
func (c *ci) push(ctx context.Context, s artifact, revision string, tags ...string) error {
	spec := imagebuild.Spec{
		Platforms: []registry.Platform{platform, {OS: "linux", Architecture: "arm64"}},
		Layers:    []imagebuild.Files{baseLayer},
		Files:     imagebuild.Files{"app/" + strings.ReplaceAll(s.name(), "/", "-"): fmt.Sprintf("%s at %s\n%s", s.name(), revision, noise(revision, 32<<10))},
		Labels: map[string]string{
			imagebuild.LabelSource:   "https://git.shop.example/" + s.name(),
			imagebuild.LabelRevision: revision,
		},
	}
	image, err := imagebuild.Index(spec)
	if err != nil {
		return err
	}
	if s.own && s.name() == c.artifacts[c.signed()].name() {
		signed := imagebuild.Signature(image.Manifest.Descriptor(), "signed by the CI of "+s.name())
		image = image.Refer(signed)
		c.signatures[image.Digest()] = signature{s.location, signed.Digest()}
	}
	target, err := c.open(s)
	if err != nil {
		return err
	}
	return imagebuild.Push(ctx, target, s.location.Repo, image, tags...)
}

// signed is the index of the service whose images are signed.
func (c *ci) signed() int {
	return max(0, slices.IndexFunc(c.artifacts, func(s artifact) bool { return s.own && s.tag != "latest" }))
}

// open opens the registry that a service's image is pulled from.
func (c *ci) open(s artifact) (registry.Writer, error) {
	if s.own {
		return c.registries.Open(c.pipeline.Registries[s.location.Registry])
	}
	upstream, err := c.registries.Upstream(s.location.Upstream, "")
	if err != nil {
		return nil, err
	}
	writer, ok := upstream.(registry.Writer)
	if !ok {
		return nil, errors.New("the demo's upstream cannot be written")
	}
	return writer, nil
}

// edit replaces a tag in every file that has it, as the CI of a service does.
func (c *ci) edit(tree gitrepo.Hash, from, to string, changed map[string][]byte) error {
	word := regexp.MustCompile(`\b` + regexp.QuoteMeta(from) + `\b`)
	files := gitrepo.TreeFS(c.repo, tree)
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !strings.HasSuffix(name, ".yaml") {
			return err
		}
		content, ok := changed[name]
		if !ok {
			if content, err = fs.ReadFile(files, name); err != nil {
				return err
			}
		}
		if edited := word.ReplaceAll(content, []byte(to)); string(edited) != string(content) {
			changed[name] = edited
		}
		return nil
	})
}

func (c *ci) commit(ctx context.Context, parent, tree gitrepo.Hash, files map[string][]byte, message string, who gitrepo.Signature) error {
	root, objects, err := gitrepo.WriteFiles(c.repo, tree, files)
	if err != nil {
		return err
	}
	who.When = c.now()
	commit := gitrepo.Commit{Tree: root, Author: who, Committer: who, Message: message + "\n"}
	if parent != "" {
		commit.Parents = []gitrepo.Hash{parent}
	}
	object := gitrepo.NewCommit(commit)
	return c.repo.Push(ctx, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: gitrepo.Heads + c.branch, Old: parent, New: object.ID()}},
		Objects: append(objects, object),
	})
}

// inventCommit names a commit of a service's repository that does not exist.
func inventCommit(name string, build int) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s build %d", name, build)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// baseLayer is shared by all images, so that a mirror can show that it sends
// every byte once.
var baseLayer = imagebuild.Files{
	"etc/os-release": "ID=demo\n",
	"usr/lib/base":   noise("base", 512<<10),
}

// noise is text that does not compress well and is the same every time.
func noise(seed string, size int) string {
	sum := sha1.Sum([]byte(seed)) //nolint:gosec // see the import
	source := rand.NewChaCha8([32]byte(append(sum[:], make([]byte, 12)...)))
	raw := make([]byte, size/2)
	_, _ = source.Read(raw) // never fails
	return hex.EncodeToString(raw)
}
