package changes

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Notes are release notes: what one gets with a snapshot in place of another.
type Notes struct {
	Pipeline string `json:"pipeline"`
	// From is nil for a first release.
	From *Release `json:"from,omitempty"`
	To   Release  `json:"to"`
	// Backwards: To is older than From, so that what is listed goes away.
	Backwards bool `json:"backwards"`
	// Images are those of all environments but the first.
	Images []Image `json:"images"`
	// Services are the commits behind Images, where it is known in which
	// repository they are built.
	Services []Service `json:"services"`
	// Hotfixes that were composed into one of the two.
	Hotfixes []Hotfix `json:"hotfixes"`
	// Configuration are the commits of the GitOps repository.
	Configuration Log `json:"configuration"`
	// Files of the GitOps repository; none for a first release.
	Files []File `json:"files"`
	// Deployments of To, in the order of the configuration.
	Deployments []Deployment `json:"deployments"`

	names map[string]string // of images, for people
	order []string          // of environments, as configured
}

// Release is a snapshot with its source.
type Release struct {
	Version string       `json:"version"`
	Commit  gitrepo.Hash `json:"commit"`
	// SourceCommit is of Branch, and what hotfixes may have been composed onto; Date
	// is that of the snapshot's commit.
	SourceCommit gitrepo.Hash `json:"sourceCommit"`
	Branch       string       `json:"branch"`
	Date         time.Time    `json:"date"`
}

// Service is a repository in which images are built, between two revisions.
type Service struct {
	// Images that were built there, by the names that people use.
	Images     []string `json:"images"`
	Repository string   `json:"repository"`
	From       string   `json:"from,omitempty"`
	To         string   `json:"to,omitempty"`
	CompareURL string   `json:"compareURL,omitempty"`
	Log        Log      `json:"log"`
	// Problem is why the commits could not be read; empty when they were.
	Problem string `json:"problem,omitempty"`
}

// Input is what notes are made of.
type Input struct {
	// Repo is the GitOps repository, from which the snapshots of both sides were
	// read.
	Repo gitrepo.Reader
	// From is zero for a first release.
	From, To Side
	// Pipeline is the configuration in force; it says where images are built.
	Pipeline *config.Pipeline
	// Open opens the repository of a service.
	Open func(url string) (gitrepo.Reader, error)
	// Ledgers are the histories of environments, newest entry first.
	Ledgers map[string][]snapshot.Entry
	// Commits bounds each list of commits; 0 is no limit.
	Commits int
}

// atOnce bounds how many repositories of services are read at the same time.
const atOnce = 4

// Compose makes release notes. A service's repository that cannot be read is a
// problem of that service and no error.
func Compose(ctx context.Context, in Input) (Notes, error) {
	n := Notes{
		Pipeline: in.Pipeline.Name, Services: []Service{}, Files: []File{}, Deployments: []Deployment{}, names: map[string]string{},
		Configuration: Log{Commits: []Commit{}},
	}
	var err error
	if n.To, err = releaseOf(in.Repo, in.To); err != nil {
		return n, err
	}
	// What the two locks say; a section of the page for each.
	n.Images = Images(in.From, in.To, later(in.Pipeline)...)
	if n.Hotfixes, err = Hotfixes(ctx, in.Repo, in.From, in.To); err != nil {
		return n, err
	}
	for _, image := range n.Images {
		n.names[image.Name] = shortName(in.Pipeline, image.Name)
	}
	if !in.From.IsZero() {
		from, err := releaseOf(in.Repo, in.From)
		if err != nil {
			return n, err
		}
		n.From = &from
		n.Backwards = in.To.Snapshot.Lock.Version.Compare(in.From.Snapshot.Lock.Version) < 0
		if n.Files, err = Files(in.Repo, in.From, in.To); err != nil {
			return n, err
		}
		if n.Configuration, err = Commits(ctx, in.Repo, from.SourceCommit, n.To.SourceCommit, in.Commits); err != nil {
			return n, err
		}
		if err := n.readServices(ctx, in); err != nil {
			return n, err
		}
	}
	for _, e := range in.Pipeline.Environments {
		n.order = append(n.order, e.Name)
		if d, ok := DeploymentOf(e.Name, in.Ledgers[e.Name], in.To.Snapshot.Lock.Version); ok {
			n.Deployments = append(n.Deployments, d)
		}
	}
	return n, nil
}

// Same reports whether both sides are one snapshot.
func (n Notes) Same() bool { return n.From != nil && n.From.Commit == n.To.Commit }

func releaseOf(r gitrepo.Objects, s Side) (Release, error) {
	commit, err := gitrepo.ReadCommit(r, s.Snapshot.ID)
	if err != nil {
		return Release{}, err
	}
	lock := s.Snapshot.Lock
	return Release{
		Version: lock.Version.String(), Commit: s.Snapshot.ID, SourceCommit: s.Snapshot.Captured(), Branch: lock.Source.Branch,
		Date: commit.Committer.When.UTC(),
	}, nil
}

// later names the environments to which something is promoted.
func later(p *config.Pipeline) []string {
	var names []string
	for _, e := range p.Environments {
		if !e.First() {
			names = append(names, e.Name)
		}
	}
	if len(names) == 0 {
		names = []string{p.First().Name} // it is all there is
	}
	return names
}

// shortName is what people call an image: without the registry of an
// environment.
func shortName(p *config.Pipeline, name string) string {
	if location, err := p.Locate(name); err == nil && location.Registry != "" {
		return location.Repo
	}
	return name
}

// readServices lists the commits behind the images that changed. Images that
// were built from the same change of the same repository share an entry.
func (n *Notes) readServices(ctx context.Context, in Input) error {
	for _, image := range n.Images {
		service, ok := in.Pipeline.ServiceOf(image.Name)
		if !ok || image.Change != Changed {
			continue
		}
		s := Service{
			Images: []string{n.names[image.Name]}, Repository: service.Repository, From: image.From.Revision, To: image.To.Revision,
			CompareURL: CompareURL(service.Repository, image.From.Revision, image.To.Revision), Log: Log{Commits: []Commit{}},
		}
		if i := slices.IndexFunc(n.Services, func(o Service) bool {
			return o.Repository == s.Repository && o.From == s.From && o.To == s.To
		}); i >= 0 {
			if !slices.Contains(n.Services[i].Images, s.Images[0]) {
				n.Services[i].Images = append(n.Services[i].Images, s.Images[0])
			}
			continue
		}
		n.Services = append(n.Services, s)
	}
	// One reader a repository, so that what is common is fetched once.
	byRepository := map[string][]int{}
	for i, s := range n.Services {
		byRepository[s.Repository] = append(byRepository[s.Repository], i)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for url, indexes := range byRepository {
		group.Go(func() error {
			reader, err := in.Open(url)
			for _, i := range indexes {
				s := &n.Services[i]
				if err == nil {
					s.read(ctx, reader, in.Commits)
				} else {
					s.Problem = firstLine(err)
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// read fills in the commits.
func (s *Service) read(ctx context.Context, r gitrepo.Reader, limit int) {
	if s.From == "" || s.To == "" {
		s.Problem = "an image has no label " + revisionLabel
		return
	}
	if s.From == s.To {
		return
	}
	var refs gitrepo.Refs
	var ids [2]gitrepo.Hash
	for i, revision := range []string{s.From, s.To} {
		if ids[i] = gitrepo.Hash(revision); ids[i].Valid() {
			continue
		}
		if refs == nil {
			var err error
			if refs, err = r.Refs(ctx, gitrepo.Tags); err != nil {
				s.Problem = firstLine(err)
				return
			}
		}
		id, ok := refs[gitrepo.Tags+revision]
		if !ok {
			s.Problem = "revision " + bounded(revision) + " is neither a full commit id nor a tag there"
			return
		}
		if err := r.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
			s.Problem = firstLine(err)
			return
		}
		if tag, err := gitrepo.ReadTag(r, id); err == nil {
			id = tag.Object
		}
		ids[i] = id
	}
	log, err := Commits(ctx, r, ids[0], ids[1], limit)
	if err != nil {
		s.Problem = firstLine(err)
		return
	}
	s.Log = log
}

// revisionLabel is where images say what they were built from.
const revisionLabel = "org.opencontainers.image.revision"

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return bounded(line)
}
