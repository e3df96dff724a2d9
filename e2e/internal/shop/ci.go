package shop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/examples"
)

// maxRaces is how often somebody who pushes gives way to others.
const maxRaces = 20

// Release is one build of a service.
type Release struct {
	Service string
	// Revision is the commit of the service's own repository, which is made up.
	Revision string
	// Tag of the image, and its digest.
	Tag    string
	Digest string
	// Commit of the GitOps repository; empty for a service that is always
	// latest, because its CI writes nothing.
	Commit string
}

// Release does what the CI of a service does: it builds a new image for two
// platforms, pushes it to Dev's registry, and writes its tag to the source
// branch. The note becomes part of the commit's message.
func (p *Pipeline) Release(ctx context.Context, service, note string) (Release, error) {
	return p.release(ctx, service, note, "")
}

// ReleaseBroken releases an image that never becomes ready where its tag is
// used, which is Dev: there the tag says broken. Later environments name
// images by digest; see [Pipeline.SetNeverReady] for them.
func (p *Pipeline) ReleaseBroken(ctx context.Context, service, note string) (Release, error) {
	return p.release(ctx, service, note, "broken-")
}

func (p *Pipeline) release(ctx context.Context, name, note, prefix string) (Release, error) {
	service, build, err := p.next(name)
	if err != nil {
		return Release{}, err
	}
	done := Release{Service: name, Revision: inventCommit(name, build)}
	done.Tag = prefix + done.Revision[:7]
	host, repo := repository(p.config.Registries[p.config.First().Registry], name)
	tags := []string{latest, done.Tag}
	if prefix != "" {
		if service.File == "" {
			return Release{}, fmt.Errorf("release %s: it is always %s, and only a tag can say that an image is broken", name, latest)
		}
		tags = tags[1:] // a broken build is not what others take for the latest
	}
	if done.Digest, err = p.push(ctx, artifact{service: name, host: host, repo: repo}, done.Revision, tags...); err != nil {
		return Release{}, fmt.Errorf("release %s: %w", name, err)
	}
	if service.File == "" {
		done.Tag = latest
		return done, nil
	}
	done.Commit, err = p.Commit(ctx, gitserver.CI, strings.TrimSpace("ci: "+name+" "+done.Tag+" "+note), func(read Read) (map[string][]byte, error) {
		content, err := read(service.File)
		if err != nil {
			return nil, err
		}
		// The commit decides what the current tag is, so that releases of one
		// service may overtake each other.
		edited, err := bump(string(content), done.Tag)
		return map[string][]byte{service.File: []byte(edited)}, err
	})
	if err != nil {
		return Release{}, fmt.Errorf("release %s: %w", name, err)
	}
	return done, nil
}

// Fix does what a developer and CI do about a fault of what an environment runs:
// a new image of the service, and its tag on the branch hotfix/<name>, which is cut
// from the environment's. The source branch learns nothing of it.
func (p *Pipeline) Fix(ctx context.Context, name, environment, service, note string) (Release, error) {
	return p.fix(ctx, name, service, note, func(clone *gitserver.Clone) error {
		_, err := clone.Git(ctx, "checkout", "--quiet", "-B", "hotfix/"+name, "origin/environments/"+environment)
		return err
	})
}

// FixOnTop goes on with a hotfix that conflicts with another one: its author merges
// that branch, and builds the service once more, with both.
func (p *Pipeline) FixOnTop(ctx context.Context, name, other, service, note string) (Release, error) {
	return p.fix(ctx, name, service, note, func(clone *gitserver.Clone) error {
		if _, err := clone.Git(ctx, "checkout", "--quiet", "-B", "hotfix/"+name, "origin/hotfix/"+name); err != nil {
			return err
		}
		_, err := clone.Git(ctx, "merge", "--quiet", "--no-commit", "--strategy-option", "theirs", "origin/hotfix/"+other)
		return err
	})
}

// fix builds a service, and commits and pushes its tag on the branch of a hotfix,
// which begin checks out.
func (p *Pipeline) fix(ctx context.Context, name, service, note string, begin func(*gitserver.Clone) error) (Release, error) {
	found, build, err := p.next(service)
	if err != nil {
		return Release{}, err
	}
	done := Release{Service: service, Revision: inventCommit(service, build)}
	done.Tag = done.Revision[:7]
	host, repo := repository(p.config.Registries[p.config.First().Registry], service)
	if done.Digest, err = p.push(ctx, artifact{service: service, host: host, repo: repo}, done.Revision, done.Tag); err != nil {
		return Release{}, fmt.Errorf("fix %s: %w", service, err)
	}
	err = p.as(ctx, gitserver.Developer, func(clone *gitserver.Clone) error {
		if err := clone.Update(ctx); err != nil {
			return err
		}
		if err := begin(clone); err != nil {
			return err
		}
		content, err := os.ReadFile(filepath.Join(clone.Dir, filepath.FromSlash(found.File)))
		if err != nil {
			return err
		}
		edited, err := bump(string(content), done.Tag)
		if err != nil {
			return err
		}
		if err := clone.Write(map[string][]byte{found.File: []byte(edited)}); err != nil {
			return err
		}
		if done.Commit, err = clone.Commit(ctx, service+": "+note); err != nil {
			return err
		}
		return clone.Push(ctx, "HEAD:refs/heads/hotfix/"+name)
	})
	if err != nil {
		return Release{}, fmt.Errorf("fix %s on hotfix/%s: %w", service, name, err)
	}
	return done, nil
}

// MergeBack brings a fix to the source branch, as a squash merge does.
func (p *Pipeline) MergeBack(ctx context.Context, fix Release) (string, error) {
	i := slices.IndexFunc(p.services, func(s examples.Service) bool { return s.Name == fix.Service })
	if i < 0 {
		return "", p.errNoSuchService(fix.Service)
	}
	file := p.services[i].File
	return p.Commit(ctx, gitserver.Developer, "the fix of "+fix.Service+" (#12)", func(read Read) (map[string][]byte, error) {
		content, err := read(file)
		if err != nil {
			return nil, err
		}
		edited, err := bump(string(content), fix.Tag)
		return map[string][]byte{file: []byte(edited)}, err
	})
}

// next finds a service and numbers its next build.
func (p *Pipeline) next(name string) (examples.Service, int, error) {
	i := slices.IndexFunc(p.services, func(s examples.Service) bool { return s.Name == name })
	if i < 0 {
		return examples.Service{}, 0, p.errNoSuchService(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.builds[name]++
	return p.services[i], p.builds[name], nil
}

// bump writes a tag to the only line that has one in quotes, as sed would:
// `newTag: "3f2a9c1"`, `tag: "7d40be2" # comment`.
func bump(content, tag string) (string, error) {
	lines := strings.SplitAfter(content, "\n")
	found := -1
	for i, line := range lines {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || key != "tag" && key != "newTag" || !strings.HasPrefix(value, `"`) {
			continue
		}
		if found >= 0 {
			return "", errors.New("two lines have a tag in quotes")
		}
		found = i
	}
	if found < 0 {
		return "", errors.New("no line has a tag in quotes")
	}
	before, rest, _ := strings.Cut(lines[found], `"`)
	_, after, closed := strings.Cut(rest, `"`)
	if !closed {
		return "", errors.New("the tag's quotes do not end")
	}
	lines[found] = before + `"` + tag + `"` + after
	return strings.Join(lines, ""), nil
}

// Read returns a file of the source branch.
type Read func(path string) ([]byte, error)

// Commit changes files on the source branch as a user, and returns the
// commit's id. Edit gets the newest files and returns those that change; nil
// content removes one. If somebody else pushes first, all is done again on top
// of that.
func (p *Pipeline) Commit(ctx context.Context, user, message string, edit func(Read) (map[string][]byte, error)) (string, error) {
	var commit string
	err := p.as(ctx, user, func(clone *gitserver.Clone) error {
		for race := 0; ; race++ {
			if err := clone.Update(ctx); err != nil {
				return err
			}
			base, err := clone.Git(ctx, "rev-parse", "HEAD")
			if err != nil {
				return err
			}
			files, err := edit(func(path string) ([]byte, error) {
				return os.ReadFile(filepath.Join(clone.Dir, filepath.FromSlash(path)))
			})
			if err != nil {
				return err
			}
			if err := clone.Write(files); err != nil {
				return err
			}
			if commit, err = clone.Commit(ctx, message); err != nil {
				return err
			}
			pushed := clone.Push(ctx, "HEAD:refs/heads/"+gitserver.Main)
			if pushed == nil {
				return nil
			}
			if now, err := p.Head(ctx, gitserver.Main); err != nil || now == base || race == maxRaces {
				return pushed // nobody was faster, so it is refused
			}
		}
	})
	if err != nil {
		return "", fmt.Errorf("commit %q: %w", message, err)
	}
	return commit, nil
}

// DeleteDevImages is the nightly job: it deletes every image of the pipeline
// from Dev's registry and returns how many manifests that were.
func (p *Pipeline) DeleteDevImages(ctx context.Context) (int, error) {
	host, prefix := repository(p.config.Registries[p.config.First().Registry], "")
	dev := p.registries.Dev
	if dev.Name() != host {
		return 0, fmt.Errorf("%s is not the registry of %s, so its images are not deleted", host, p.config.First().Name)
	}
	repos, err := dev.Repositories(ctx)
	if err != nil {
		return 0, err
	}
	deleted := 0
	for _, repo := range repos {
		if !strings.HasPrefix(repo, prefix) {
			continue
		}
		digests, err := dev.Manifests(repo)
		if err != nil {
			return deleted, err
		}
		for _, digest := range digests {
			if err := dev.Delete(ctx, repo, digest); err != nil {
				return deleted, err
			}
			deleted++
		}
	}
	return deleted, nil
}
