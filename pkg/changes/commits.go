package changes

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// depths are how many generations of commits are fetched, one after the other,
// until the two revisions of a log meet. The last is a bound on the cost: a
// commit has some hundred bytes.
var depths = [...]int{64, 1024}

// maxSubject bounds the characters of a subject and of a name.
const maxSubject = 200

// Commit is one commit as a log shows it. Its texts are foreign.
type Commit struct {
	ID      gitrepo.Hash `json:"id"`
	Subject string       `json:"subject"`
	Author  string       `json:"author"`
	// Date is when it was written, in UTC.
	Date time.Time `json:"date"`
}

// Log is what lies between two revisions, newest first and without merges.
type Log struct {
	// Commits are those that only the newer revision has, More how many of them
	// are not in the list.
	Commits []Commit `json:"commits"`
	More    int      `json:"more,omitempty"`
	// Gone are those that only the older revision has: they are lost on the way
	// from one to the other. MoreGone is like More.
	Gone     []Commit `json:"gone,omitempty"`
	MoreGone int      `json:"moreGone,omitempty"`
	// Incomplete: the histories are longer than what was read, and commits may be
	// missing, or be here that both revisions have.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Commits lists the commits between two revisions, at most limit in each list (0
// is no limit). It fetches commits alone, no deeper than it must and never
// deeper than 1024 generations. A revision that the repository does not have is
// [gitrepo.ErrNotFound].
func Commits(ctx context.Context, r gitrepo.Reader, from, to gitrepo.Hash, limit int) (Log, error) {
	var log Log
	if from == to {
		return Log{Commits: []Commit{}}, nil
	}
	for _, depth := range depths {
		if err := r.Fetch(ctx, []gitrepo.Hash{from, to}, gitrepo.FetchOptions{Depth: depth, CommitsOnly: true}); err != nil {
			return log, err
		}
		older, err := reachable(r, from)
		if err != nil {
			return log, err
		}
		newer, err := reachable(r, to)
		if err != nil {
			return log, err
		}
		come, endless1 := difference(newer, older)
		gone, endless2 := difference(older, newer)
		log = Log{Incomplete: endless1 || endless2}
		log.Commits, log.More = cut(come, limit)
		if log.Gone, log.MoreGone = cut(gone, limit); len(log.Gone) == 0 {
			log.Gone = nil
		}
		if !log.Incomplete {
			break
		}
	}
	return log, nil
}

// reachable returns the commits from tip on, as far as they were fetched.
func reachable(r gitrepo.Objects, tip gitrepo.Hash) (map[gitrepo.Hash]gitrepo.Commit, error) {
	all := map[gitrepo.Hash]gitrepo.Commit{}
	for queue := []gitrepo.Hash{tip}; len(queue) > 0; {
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if _, seen := all[id]; seen {
			continue
		}
		c, err := gitrepo.ReadCommit(r, id)
		if errors.Is(err, gitrepo.ErrNotFound) && id != tip {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read commit %s: %w", id.Short(), err)
		}
		all[id] = c
		queue = append(queue, c.Parents...)
	}
	return all, nil
}

// difference returns the commits of one set that are not in another, children
// before parents and otherwise newest first. endless: the parents of some of
// them were not fetched.
func difference(set, other map[gitrepo.Hash]gitrepo.Commit) (commits []gitrepo.CommitInfo, endless bool) {
	children := map[gitrepo.Hash]int{}
	for id, c := range set {
		if _, both := other[id]; both {
			continue
		}
		for _, p := range c.Parents {
			children[p]++
			if _, known := set[p]; !known {
				endless = true
			}
		}
	}
	var ready newest
	for id, c := range set {
		if _, both := other[id]; !both && children[id] == 0 {
			ready = append(ready, gitrepo.CommitInfo{ID: id, Commit: c})
		}
	}
	heap.Init(&ready)
	for len(ready) > 0 {
		c := heap.Pop(&ready).(gitrepo.CommitInfo)
		commits = append(commits, c)
		for _, p := range slices.Compact(slices.Sorted(slices.Values(c.Parents))) {
			n := 0
			for _, q := range c.Parents {
				if p == q {
					n++
				}
			}
			children[p] -= n
			parent, known := set[p]
			if _, both := other[p]; known && !both && children[p] == 0 {
				heap.Push(&ready, gitrepo.CommitInfo{ID: p, Commit: parent})
			}
		}
	}
	return commits, endless
}

// newest is a heap that gives the newest commit first.
type newest []gitrepo.CommitInfo

func (h newest) Len() int { return len(h) }

func (h newest) Less(i, j int) bool {
	if c := h[i].Committer.When.Compare(h[j].Committer.When); c != 0 {
		return c > 0
	}
	return cmp.Less(h[i].ID, h[j].ID)
}

func (h newest) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *newest) Push(x any) { *h = append(*h, x.(gitrepo.CommitInfo)) }

func (h *newest) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// cut leaves out merges and what is over the limit.
func cut(commits []gitrepo.CommitInfo, limit int) (shown []Commit, more int) {
	shown = []Commit{}
	for _, c := range commits {
		switch {
		case len(c.Parents) > 1:
		case limit > 0 && len(shown) == limit:
			more++
		default:
			subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
			shown = append(shown, Commit{ID: c.ID, Subject: bounded(subject), Author: bounded(c.Author.Name), Date: c.Author.When.UTC()})
		}
	}
	return shown, more
}

// bounded cuts foreign text to what a line may have.
func bounded(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if runes := []rune(s); len(runes) > maxSubject {
		return string(runes[:maxSubject]) + "…"
	}
	return s
}
