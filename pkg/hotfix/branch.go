package hotfix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// own is what belongs to Propagator in a tree; a hotfix does not change it.
const own = ".propagator"

// Fault is why a branch cannot be composed as it is.
type Fault string

// The faults.
const (
	// BadName: the name cannot be recorded.
	BadName Fault = "HOTFIX_NAME"
	// BaseUnknown: the branch was not cut from anything an environment has run.
	BaseUnknown Fault = "HOTFIX_BASE_UNKNOWN"
	// HoldsSource: the branch holds commits of the source branch, which would
	// reach production along with it.
	HoldsSource Fault = "HOTFIX_HOLDS_SOURCE"
	// EditsLock: the branch changes what only Propagator writes.
	EditsLock Fault = "HOTFIX_EDITS_LOCK"
	// Empty: the branch changes nothing.
	Empty Fault = "HOTFIX_EMPTY"
)

// Branch is a hotfix branch as it was found.
type Branch struct {
	snapshot.Hotfix
	// Onto is the snapshot that the base runs.
	Onto snapshot.Version
	// When is the time of the head, Author who wrote it, Subject what it says.
	When    time.Time
	Author  string
	Subject string
	// Commits of the branch's own, newest first.
	Commits []gitrepo.Hash
	// Fault is empty for a branch that can be composed; Detail says more.
	Fault  Fault
	Detail string
}

// Ref is the full name of the branch.
func (b Branch) Ref() string { return snapshot.HotfixBranches + b.Name }

// Known are the commits that a hotfix may begin at, and the snapshots they stand
// for: entries of ledgers, snapshots, and heads that were composed.
type Known map[gitrepo.Hash]snapshot.Version

// searchDepth is how far a branch is searched for the commit it was cut from:
// first the usual, then the most.
var searchDepth = []int{64, 1024}

// Open finds out what a branch holds. The head and everything that is looked at
// is fetched. source is the tip of the source branch. An error means that nobody
// knows; what is wrong with the branch is its Fault.
func Open(ctx context.Context, r gitrepo.Reader, name string, head, source gitrepo.Hash, known Known) (Branch, error) {
	b := Branch{Hotfix: snapshot.Hotfix{Name: name, Head: head}}
	if !snapshot.ValidHotfixName(name) {
		return b.faulty(BadName, "the name of a hotfix has at most 100 letters, digits, dots, dashes, underscores and slashes: git branch -m hotfix/%s hotfix/<name>", name), nil
	}
	var visited []gitrepo.Hash
	for _, depth := range searchDepth {
		if err := r.Fetch(ctx, []gitrepo.Hash{head}, gitrepo.FetchOptions{Depth: depth, CommitsOnly: true}); err != nil {
			return b, fmt.Errorf("hotfix/%s: %w", name, err)
		}
		var complete bool
		var err error
		if b.Base, visited, complete, err = walk(r, head, known); err != nil {
			return b, fmt.Errorf("hotfix/%s: %w", name, err)
		}
		if b.Base != "" || complete {
			break
		}
	}
	if err := b.Describe(r); err != nil {
		return b, fmt.Errorf("hotfix/%s: %w", name, err)
	}
	from, err := ofSource(ctx, r, source, visited)
	if err != nil {
		return b, fmt.Errorf("hotfix/%s: %w", name, err)
	}
	switch {
	case b.Base == "" && from != "":
		return b.faulty(BaseUnknown, "it was cut from the source branch, at %s or later, not from what an environment runs: git rebase --onto origin/environments/<environment> %s hotfix/%s",
			from.Short(), from.Short(), name), nil
	case b.Base == "":
		return b.faulty(BaseUnknown, "none of its newest %d commits is something that an environment has run: cut it from an environment's branch, git switch -c hotfix/<name> origin/environments/<environment>",
			searchDepth[len(searchDepth)-1]), nil
	case from != "":
		return b.faulty(HoldsSource, "it holds commits of the source branch, among them %s, which would be released with it: git rebase --onto %s %s hotfix/%s",
			from.Short(), b.Base.Short(), from.Short(), name), nil
	}
	b.Onto, b.Commits = known[b.Base], visited
	return b.look(ctx, r)
}

func (b Branch) faulty(f Fault, format string, args ...any) Branch {
	b.Fault, b.Detail = f, fmt.Sprintf(format, args...)
	return b
}

// Describe reads when the head was made, by whom, and what it says.
func (b *Branch) Describe(r gitrepo.Objects) error {
	commit, err := gitrepo.ReadCommit(r, b.Head)
	if err != nil {
		return err
	}
	b.When, b.Author = commit.Committer.When, commit.Author.Name
	b.Subject, _, _ = strings.Cut(commit.Message, "\n")
	return nil
}

// Log returns the commits of a hotfix, newest first, as far as its newest ones
// go. They are fetched, without trees.
func Log(ctx context.Context, r gitrepo.Reader, h snapshot.Hotfix) ([]gitrepo.CommitInfo, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{h.Head}, gitrepo.FetchOptions{Depth: searchDepth[0], CommitsOnly: true}); err != nil {
		return nil, fmt.Errorf("hotfix %s: %w", h.Name, err)
	}
	_, visited, _, err := walk(r, h.Head, Known{h.Base: {}})
	if err != nil {
		return nil, fmt.Errorf("hotfix %s: %w", h.Name, err)
	}
	var log []gitrepo.CommitInfo
	for _, id := range visited {
		commit, err := gitrepo.ReadCommit(r, id)
		if err != nil {
			return nil, fmt.Errorf("hotfix %s: %w", h.Name, err)
		}
		log = append(log, gitrepo.CommitInfo{ID: id, Commit: commit})
	}
	return log, nil
}

// look compares base and head.
func (b Branch) look(ctx context.Context, r gitrepo.Reader) (Branch, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{b.Base, b.Head}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return b, fmt.Errorf("hotfix/%s: %w", b.Name, err)
	}
	base, head, err := trees(r, b.Base, b.Head)
	if err != nil {
		return b, fmt.Errorf("hotfix/%s: %w", b.Name, err)
	}
	changes, err := merge.Diff(r, base, head)
	if err != nil {
		return b, fmt.Errorf("hotfix/%s: %w", b.Name, err)
	}
	if i := slices.IndexFunc(changes, func(c merge.Change) bool { return isOwn(c.Path) }); i >= 0 {
		return b.faulty(EditsLock, "it changes %s, which only Propagator writes; change the manifests, the lock follows: git checkout %s -- %s, and commit", changes[i].Path, b.Base.Short(), own), nil
	}
	if len(changes) == 0 {
		return b.faulty(Empty, "nothing differs from %s yet", b.Base.Short()), nil
	}
	return b, nil
}

func isOwn(path string) bool { return path == own || strings.HasPrefix(path, own+"/") }

// walk goes from the head to the first known commits on every path, and returns
// the one with the highest version: where a branch has merged what an
// environment ran later, it begins there. visited are the commits above.
// complete says that the whole history was searched.
func walk(r gitrepo.Objects, head gitrepo.Hash, known Known) (base gitrepo.Hash, visited []gitrepo.Hash, complete bool, err error) {
	complete = true
	seen := map[gitrepo.Hash]bool{head: true}
	for queue := []gitrepo.Hash{head}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if version, ok := known[id]; ok {
			if base == "" || version.Compare(known[base]) > 0 {
				base = id
			}
			continue
		}
		commit, err := gitrepo.ReadCommit(r, id)
		if errors.Is(err, gitrepo.ErrNotFound) {
			complete = false
			continue
		}
		if err != nil {
			return "", nil, false, err
		}
		visited = append(visited, id)
		for _, parent := range commit.Parents {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return base, visited, complete, nil
}

// ofSource returns the newest of the commits that were made on the source branch;
// empty when none of its newest was. Where a hotfix was merged into the source
// branch, its commits are in that history as well, but not along first parents.
func ofSource(ctx context.Context, r gitrepo.Reader, source gitrepo.Hash, commits []gitrepo.Hash) (gitrepo.Hash, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{source}, gitrepo.FetchOptions{Depth: searchDepth[0], CommitsOnly: true}); err != nil {
		return "", err
	}
	line, err := gitrepo.FirstParents(r, source, searchDepth[0])
	if err != nil {
		return "", err
	}
	for _, made := range line {
		if slices.Contains(commits, made.ID) {
			return made.ID, nil
		}
	}
	return "", nil
}

// reach returns the commits that can be reached from one, as far as they were
// fetched, up to a limit (0: none).
func reach(r gitrepo.Objects, from gitrepo.Hash, limit int) (map[gitrepo.Hash]gitrepo.Commit, error) {
	found := map[gitrepo.Hash]gitrepo.Commit{}
	for queue := []gitrepo.Hash{from}; len(queue) > 0; queue = queue[1:] {
		if _, ok := found[queue[0]]; ok {
			continue
		}
		if limit > 0 && len(found) >= limit {
			break
		}
		commit, err := gitrepo.ReadCommit(r, queue[0])
		if errors.Is(err, gitrepo.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[queue[0]] = commit
		queue = append(queue, commit.Parents...)
	}
	return found, nil
}

func trees(r gitrepo.Objects, base, head gitrepo.Hash) (b, h gitrepo.Hash, err error) {
	first, err := gitrepo.ReadCommit(r, base)
	if err != nil {
		return "", "", fmt.Errorf("commit %s: %w", base.Short(), err)
	}
	last, err := gitrepo.ReadCommit(r, head)
	if err != nil {
		return "", "", fmt.Errorf("commit %s: %w", head.Short(), err)
	}
	return first.Tree, last.Tree, nil
}
