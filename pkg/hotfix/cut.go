package hotfix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

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

// straight reports whether a branch leads from what Propagator wrote in one line,
// so that it cannot hold anything else.
func straight(r gitrepo.Objects, base gitrepo.Hash, visited []gitrepo.Hash) bool {
	commit, err := gitrepo.ReadCommit(r, base)
	if err != nil {
		return false
	}
	if event := snapshot.ParseTrailers(commit.Message).Get("Propagator-Event"); event == "" || event == "backmerge" {
		return false
	}
	return !slices.ContainsFunc(visited, func(id gitrepo.Hash) bool {
		commit, err := gitrepo.ReadCommit(r, id)
		return err != nil || len(commit.Parents) != 1
	})
}

// sourceLine is the source branch: what was committed or merged there, and not
// what came with a merge, which may be a hotfix that was merged back.
type sourceLine struct {
	r    gitrepo.Reader
	tip  gitrepo.Hash
	read int // of searchDepth
	line map[gitrepo.Hash]bool
}

// newest returns the first of the commits, which come newest first, that is one
// of the source branch; empty when none is among its newest.
func (s *sourceLine) newest(ctx context.Context, commits []gitrepo.Hash) (gitrepo.Hash, error) {
	for {
		if i := slices.IndexFunc(commits, func(id gitrepo.Hash) bool { return s.line[id] }); i >= 0 {
			return commits[i], nil
		}
		if s.read == len(searchDepth) {
			return "", nil
		}
		if err := s.r.Fetch(ctx, []gitrepo.Hash{s.tip}, gitrepo.FetchOptions{Depth: searchDepth[s.read], CommitsOnly: true}); err != nil {
			return "", err
		}
		s.read++
		line, err := gitrepo.FirstParents(s.r, s.tip, 0)
		if err != nil {
			return "", err
		}
		s.line = map[gitrepo.Hash]bool{}
		for _, commit := range line {
			s.line[commit.ID] = true
		}
	}
}

// fetchEach fetches all it can, and says of what it cannot why. An error is about
// the repository as a whole.
func fetchEach(ctx context.Context, r gitrepo.Reader, ids []gitrepo.Hash, o gitrepo.FetchOptions) (map[gitrepo.Hash]error, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err := r.Fetch(ctx, ids, o)
	switch {
	case err == nil:
		return nil, nil
	case !errors.Is(err, gitrepo.ErrNotFound):
		return nil, err
	case len(ids) == 1:
		return map[gitrepo.Hash]error{ids[0]: err}, nil
	}
	broken := map[gitrepo.Hash]error{}
	for _, half := range [][]gitrepo.Hash{ids[:len(ids)/2], ids[len(ids)/2:]} {
		of, err := fetchEach(ctx, r, half, o)
		if err != nil {
			return nil, err
		}
		maps.Copy(broken, of)
	}
	return broken, nil
}

// goesOnFrom are the parents whose trees a commit has gone on from. A composition
// has those of its hotfixes as well, of which it has nothing but what they changed:
// what they were stacked on may not be in it.
func goesOnFrom(c gitrepo.Commit) []gitrepo.Hash {
	if len(c.Parents) > 1 && snapshot.IsComposition(c.Message) {
		return c.Parents[:1]
	}
	return c.Parents
}

// reach returns the commits that one has gone on from, as far as they were
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
		commit, ok, err := optional(r, queue[0])
		if err != nil {
			return nil, err
		}
		if ok {
			found[queue[0]] = commit
			queue = append(queue, goesOnFrom(commit)...)
		}
	}
	return found, nil
}

// optional reads a commit; false when it was not fetched.
func optional(r gitrepo.Objects, id gitrepo.Hash) (gitrepo.Commit, bool, error) {
	commit, err := gitrepo.ReadCommit(r, id)
	if errors.Is(err, gitrepo.ErrNotFound) {
		return commit, false, nil
	}
	return commit, err == nil, err
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
