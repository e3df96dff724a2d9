package hotfix

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// BaseOld: no environment runs the line any more that the branch was cut from.
	BaseOld Fault = "HOTFIX_BASE_OLD"
	// HoldsSource: the branch holds commits of the source branch, which would
	// reach production along with it.
	HoldsSource Fault = "HOTFIX_HOLDS_SOURCE"
	// EditsLock: the branch changes what only Propagator writes.
	EditsLock Fault = "HOTFIX_EDITS_LOCK"
	// Empty: the branch changes nothing.
	Empty Fault = "HOTFIX_EMPTY"
	// Unreadable: what the branch names cannot be had, or is no commit.
	Unreadable Fault = "HOTFIX_UNREADABLE"
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

// Open is [OpenAll] of one branch.
func Open(ctx context.Context, r gitrepo.Reader, name string, head, source gitrepo.Hash, known Known) (Branch, error) {
	all, err := OpenAll(ctx, r, map[string]gitrepo.Hash{name: head}, source, known)
	if err != nil {
		return Branch{}, err
	}
	return all[0], nil
}

// OpenAll finds out what branches hold, given by their names and heads, and
// returns them sorted by name. The heads and everything that is looked at is
// fetched, of all branches at once. source is the tip of the source branch. An
// error means that nobody knows; what is wrong with a branch is its Fault, and
// does not stop the others.
func OpenAll(ctx context.Context, r gitrepo.Reader, heads map[string]gitrepo.Hash, source gitrepo.Hash, known Known) ([]Branch, error) {
	branches := make([]Branch, 0, len(heads))
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		b := Branch{Hotfix: snapshot.Hotfix{Name: name, Head: heads[name]}}
		if !snapshot.ValidHotfixName(name) {
			b = b.faulty(BadName, "the name of a hotfix begins with a letter or digit and has at most 100 of those, dots, dashes, underscores and slashes: git push origin %s:refs/heads/hotfix/<name>", b.Head.Short())
		}
		branches = append(branches, b)
	}
	if err := trace(ctx, r, branches, source, known); err != nil {
		return nil, err
	}
	var ids []gitrepo.Hash
	for _, b := range branches {
		if b.Fault == "" {
			ids = append(ids, b.Base, b.Head)
		}
	}
	broken, err := fetchEach(ctx, r, ids, gitrepo.FetchOptions{Depth: 1})
	if err != nil {
		return nil, err
	}
	for i, b := range branches {
		if b.Fault == "" {
			branches[i] = b.look(r, broken)
		}
	}
	return branches, nil
}

// trace finds where branches were cut.
func trace(ctx context.Context, r gitrepo.Reader, branches []Branch, source gitrepo.Hash, known Known) error {
	visited := make([][]gitrepo.Hash, len(branches))
	var open []int // that have no base yet
	for i, b := range branches {
		if b.Fault == "" {
			open = append(open, i)
		}
	}
	for _, depth := range searchDepth {
		var ids []gitrepo.Hash
		for _, i := range open {
			ids = append(ids, branches[i].Head)
		}
		broken, err := fetchEach(ctx, r, ids, gitrepo.FetchOptions{Depth: depth, CommitsOnly: true})
		if err != nil {
			return err
		}
		var again []int
		for _, i := range open {
			b := &branches[i]
			if *b = b.describe(r, broken[b.Head]); b.Fault != "" {
				continue
			}
			var complete bool
			if b.Base, visited[i], complete, err = walk(r, b.Head, known); err != nil {
				*b = b.faulty(Unreadable, "%v", err)
				continue
			}
			if b.Base == "" && !complete {
				again = append(again, i)
			}
		}
		open = again
	}
	line := sourceLine{r: r, tip: source}
	for i, b := range branches {
		if b.Fault != "" || b.Base != "" && straight(r, b.Base, visited[i]) {
			continue
		}
		from, err := line.newest(ctx, visited[i])
		if err != nil {
			return err
		}
		branches[i] = b.judge(from)
	}
	for i := range branches {
		if branches[i].Fault == "" {
			branches[i].Onto, branches[i].Commits = known[branches[i].Base], visited[i]
		}
	}
	return nil
}

// judge says what is wrong with where a branch was cut; from is the newest commit
// of the source branch in it.
func (b Branch) judge(from gitrepo.Hash) Branch {
	switch {
	case b.Base == "" && from != "":
		return b.faulty(BaseUnknown, "it was cut from the source branch, at %s or later, not from what an environment runs: git rebase --onto origin/environments/<environment> %s hotfix/%s",
			from.Short(), from.Short(), b.Name)
	case b.Base == "":
		return b.faulty(BaseUnknown, "none of its commits is something that an environment has run, as far as its newest %d were searched: cut it from an environment's branch, git switch -c hotfix/<name> origin/environments/<environment>",
			searchDepth[len(searchDepth)-1])
	case from != "":
		return b.faulty(HoldsSource, "it holds commits of the source branch, among them %s, which would be released with it: git rebase --onto %s %s hotfix/%s",
			from.Short(), b.Base.Short(), from.Short(), b.Name)
	}
	return b
}

func (b Branch) faulty(f Fault, format string, args ...any) Branch {
	b.Fault, b.Detail = f, fmt.Sprintf(format, args...)
	return b
}

// describe reads the head; missing is why it could not be fetched.
func (b Branch) describe(r gitrepo.Objects, missing error) Branch {
	if missing != nil {
		return b.faulty(Unreadable, "its head %s cannot be had: %v; push the branch again: git push --force-with-lease origin hotfix/%s", b.Head.Short(), missing, b.Name)
	}
	object, err := r.Object(b.Head)
	if err != nil {
		return b.faulty(Unreadable, "%v", err)
	}
	if object.Type != gitrepo.TypeCommit {
		return b.faulty(Unreadable, "it names a %s, not a commit: git push origin <commit>:refs/heads/hotfix/<another name>", object.Type)
	}
	commit, err := gitrepo.ParseCommit(object)
	if err != nil {
		return b.faulty(Unreadable, "%v", err)
	}
	b.tell(commit)
	return b
}

// look compares base and head.
func (b Branch) look(r gitrepo.Objects, broken map[gitrepo.Hash]error) Branch {
	if err := errors.Join(broken[b.Base], broken[b.Head]); err != nil {
		return b.faulty(Unreadable, "%v", err)
	}
	base, head, err := trees(r, b.Base, b.Head)
	if err != nil {
		return b.faulty(Unreadable, "%v", err)
	}
	changes, err := merge.Diff(r, base, head)
	if err != nil {
		return b.faulty(Unreadable, "%v", err)
	}
	for _, c := range changes {
		for _, path := range []string{c.Path, c.From} {
			if isOwn(path) {
				return b.faulty(EditsLock, "it changes %s, which only Propagator writes; change the manifests, the lock follows: git checkout %s -- %s, and commit", path, b.Base.Short(), own)
			}
		}
	}
	if len(changes) == 0 {
		return b.faulty(Empty, "nothing differs from %s yet", b.Base.Short())
	}
	return b
}

func isOwn(path string) bool { return path == own || strings.HasPrefix(path, own+"/") }

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

// Describe reads when the head was made, by whom, and what it says. It must have
// been fetched.
func (b *Branch) Describe(r gitrepo.Objects) error {
	commit, err := gitrepo.ReadCommit(r, b.Head)
	if err != nil {
		return err
	}
	b.tell(commit)
	return nil
}

func (b *Branch) tell(head gitrepo.Commit) {
	b.When, b.Author = head.Committer.When, head.Author.Name
	b.Subject, _, _ = strings.Cut(head.Message, "\n")
}
