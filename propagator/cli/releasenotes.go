package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/changes"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// ledgerDepth is how many entries of each ledger are read for release notes.
const ledgerDepth = 256

// maxServiceFetch bounds what one fetch from a service's repository may bring,
// in bytes. Commits alone are far below; a server that cannot leave out files
// could send anything.
const maxServiceFetch = 256 << 20

func releaseNotesCommand(a *app) *cobra.Command {
	var commits int
	cmd := &cobra.Command{
		Use:   "notes [A..]B",
		Short: "release notes: what a snapshot brings",
		Long: `notes writes release notes in Markdown: the services with their old and new
images, the commits behind them and those of the GitOps repository, the files that
changed, and what the ledgers say about it: who promoted it where, who approved,
which gates were asked and which rule was overridden, and how the tests went.

A and B are versions, or environments, which stand for what they point at. Without
A, the notes begin at what the last environment ran before B; where that is not
known, at the version before it: of the same minor version for a patch, otherwise
the newest of an earlier one.

The commits of a service are listed where propagator.yaml says in which repository
it is built (services), between the revisions that its images name. Credentials for
Git are sent to the host of the GitOps repository only.`,
		Example: `  propagator notes v0.2.0 > notes.md
  propagator notes v0.1.0..v0.2.0
  propagator notes prod..stage --commits 20
  propagator notes v0.2.0 -o json | jq -r '.images[].name'`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeSide),
		Annotations:       map[string]string{moreFormats: outputMarkdown},
		RunE: func(cmd *cobra.Command, args []string) error {
			if commits < 0 {
				return usage(cmd, "--commits is %d; write 0 for all, or a number of commits", commits)
			}
			from, to, err := rangeArgument(cmd, args[0])
			if err != nil {
				return err
			}
			notes, err := a.releaseNotes(cmd, from, to, commits)
			if err != nil {
				return err
			}
			if a.output == outputTable || a.output == outputMarkdown {
				return notes.Markdown(a.stdout)
			}
			return a.print(notes, nil)
		},
	}
	cmd.Flags().IntVar(&commits, "commits", 50, "at most so many commits a repository; 0 means all")
	return cmd
}

// rangeArgument reads A..B, or B alone.
func rangeArgument(cmd *cobra.Command, text string) (from, to string, err error) {
	from, to, both := strings.Cut(text, "..")
	switch {
	case strings.Contains(text, "..."):
		return "", "", usage(cmd, "%q has three dots; write A..B", text)
	case !both:
		return "", text, nil
	case from == "" || to == "":
		return "", "", usage(cmd, "%q has an empty side; write A..B, or B alone", text)
	case strings.Contains(to, ".."):
		return "", "", usage(cmd, "%q has more than two sides; write A..B", text)
	}
	return from, to, nil
}

func (a *app) releaseNotes(cmd *cobra.Command, from, to string, commits int) (changes.Notes, error) {
	none := changes.Notes{}
	s, err := a.open(cmd, reading, "")
	if err != nil {
		return none, err
	}
	ctx := cmd.Context()
	c, err := s.catalog(ctx)
	if err != nil {
		return none, err
	}
	ledgers, err := s.ledgers(ctx, c)
	if err != nil {
		return none, err
	}
	typed := []string{to}
	if from != "" {
		typed = append(typed, from)
	} else {
		named, err := s.nameSides(ctx, cmd, c, typed)
		if err != nil {
			return none, err
		}
		if before := predecessor(c, ledgers, named[0].version); !before.IsZero() {
			typed = append(typed, before.String())
		}
	}
	read, err := s.sides(ctx, cmd, c, typed...)
	if err != nil {
		return none, err
	}
	open, err := a.serviceOpener(cmd)
	if err != nil {
		return none, err
	}
	in := changes.Input{Repo: s.Repo, To: read[0].Side, Pipeline: c.pipeline, Open: open, Ledgers: ledgers, Commits: commits}
	if len(read) > 1 {
		in.From = read[1].Side
	}
	notes, err := changes.Compose(ctx, in)
	if err != nil {
		return none, err
	}
	if notes.Backwards {
		a.note("%s is older than %s: the notes say what goes away", read[0].version, read[1].version)
	}
	for _, service := range notes.Services {
		if service.Problem != "" {
			a.note("%s: the commits of %s could not be read: %s", printable(service.Repository), printable(strings.Join(service.Images, ", ")), printable(service.Problem))
		}
	}
	return notes, nil
}

// ledgers reads the newest entries of all ledgers in one fetch.
func (s *session) ledgers(ctx context.Context, c *catalog) (map[string][]snapshot.Entry, error) {
	var tips []gitrepo.Hash
	for _, e := range c.pipeline.Environments {
		if tip := c.refs[gitrepo.Heads+e.Branch]; tip != "" && !e.First() {
			tips = append(tips, tip)
		}
	}
	all := map[string][]snapshot.Entry{}
	if len(tips) == 0 {
		return all, nil
	}
	if err := s.Repo.Fetch(ctx, tips, gitrepo.FetchOptions{Depth: ledgerDepth, CommitsOnly: true}); err != nil {
		return nil, err
	}
	for _, e := range c.pipeline.Environments {
		tip := c.refs[gitrepo.Heads+e.Branch]
		if tip == "" || e.First() {
			continue
		}
		commits, err := gitrepo.FirstParents(s.Repo, tip, ledgerDepth)
		if err != nil {
			return nil, err
		}
		for _, commit := range commits {
			entry, err := snapshot.ParseEntry(commit.ID, commit.Commit)
			if err != nil {
				return nil, foreignEntry(err)
			}
			all[e.Name] = append(all[e.Name], entry)
		}
	}
	return all, nil
}

// predecessor is what the notes of a version begin at; the zero version for a
// first release.
func predecessor(c *catalog, ledgers map[string][]snapshot.Entry, version snapshot.Version) snapshot.Version {
	known := func(v snapshot.Version) bool {
		return !v.IsZero() && c.found.Tags[v] != "" && v.Compare(version) < 0
	}
	// What the last environment had before; or has, if it is still to get this.
	history := ledgers[last(c.pipeline)]
	for i := len(history) - 1; i >= 0; i-- {
		if e := history[i]; e.Event == snapshot.EventPromote && e.Snapshot == version {
			if known(e.From) {
				return e.From
			}
			break
		}
	}
	if len(history) > 0 && known(history[0].Snapshot) {
		return history[0].Snapshot
	}
	for _, v := range c.found.Versions() { // newest first
		if known(v) && (version.Patch > 0 || !v.SameLine(version)) {
			return v
		}
	}
	return snapshot.Version{}
}

// last is the environment at the end of the train: of several that nothing comes
// after, the one that stands last in the file.
func last(p *config.Pipeline) string {
	name := ""
	for _, e := range p.Environments {
		if !e.First() && len(p.Downstream(e.Name)) == 1 {
			name = e.Name
		}
	}
	return name
}

// serviceOpener opens repositories that propagator.yaml names. Whoever may write
// that file must not be sent the credentials of those who read it, so they go to
// the server of the GitOps repository and nowhere else. A key for ssh proves who
// one is without being sent.
func (a *app) serviceOpener(cmd *cobra.Command) (func(string) (gitrepo.Reader, error), error) {
	own, err := a.repositoryURL(cmd)
	if err != nil {
		return nil, err
	}
	return func(address string) (gitrepo.Reader, error) {
		flags, env := a.git, a.env
		if user, same := sameServer(own, address); !same {
			flags.Username, flags.PasswordFile = "", ""
			env = nil
			for _, assignment := range a.env {
				if !strings.HasPrefix(assignment, "PROPAGATOR_GIT_PASSWORD=") {
					env = append(env, assignment)
				}
			}
		} else if user != nil {
			if u, err := url.Parse(address); err == nil {
				u.User = user
				address = u.String()
			}
		}
		flags.Repositories, flags.MaxFetch = []string{address}, maxServiceFetch
		openers, err := flags.Openers(env, a.logger())
		if err != nil {
			return nil, err
		}
		return openers[0]()
	}, nil
}

// sameServer reports whether two addresses are of one server, reached in the
// same way over http(s), and the credentials that stand in the first of them.
func sameServer(own, other string) (*url.Userinfo, bool) {
	u, err := url.Parse(own)
	if err != nil {
		return nil, false
	}
	v, err := url.Parse(other)
	if err != nil || u.Scheme != v.Scheme || (u.Scheme != "https" && u.Scheme != "http") || !strings.EqualFold(u.Host, v.Host) {
		return nil, false
	}
	return u.User, true
}
