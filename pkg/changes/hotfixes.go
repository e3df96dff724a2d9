package changes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Hotfix is a change from a branch of its own that was composed into one side and
// not into the other.
type Hotfix struct {
	Name string `json:"name"`
	// Head is its last commit, Since the first snapshot that was composed with it.
	Head  gitrepo.Hash `json:"head"`
	Since string       `json:"since"`
	// Subject and Author are those of Head.
	Subject string `json:"subject"`
	Author  string `json:"author"`
	// Gone: the older side was composed with it, the newer one was not. A hotfix
	// that was merged back comes with the source branch all the same: Answer says
	// whether the newer side contains it, and Why what shows that.
	Gone   bool          `json:"gone,omitempty"`
	Answer hotfix.Answer `json:"answer,omitempty"`
	Why    string        `json:"why,omitempty"`
}

// Hotfixes lists the hotfixes that one side was composed with and the other was
// not, by name. Their last commits are fetched, and what is needed to find those
// that are gone in the newer side.
func Hotfixes(ctx context.Context, r gitrepo.Reader, from, to Side) ([]Hotfix, error) {
	of := func(s Side) []snapshot.Hotfix {
		if s.Snapshot.Lock == nil {
			return nil
		}
		return s.Snapshot.Lock.Hotfixes
	}
	all := []Hotfix{}
	var heads []gitrepo.Hash
	recorded := map[gitrepo.Hash]snapshot.Hotfix{}
	add := func(these, others []snapshot.Hotfix, gone bool) {
		for _, h := range these {
			if slices.ContainsFunc(others, func(other snapshot.Hotfix) bool { return other.Head == h.Head }) {
				continue
			}
			all = append(all, Hotfix{Name: h.Name, Head: h.Head, Since: h.Since.String(), Gone: gone})
			heads = append(heads, h.Head)
			recorded[h.Head] = h
		}
	}
	add(of(to), of(from), false)
	add(of(from), of(to), true)
	if len(all) == 0 {
		return all, nil
	}
	if err := r.Fetch(ctx, heads, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return nil, fmt.Errorf("hotfixes: %w", err)
	}
	for i := range all {
		commit, err := gitrepo.ReadCommit(r, all[i].Head)
		if err != nil {
			return nil, fmt.Errorf("hotfix %s: %w", all[i].Name, err)
		}
		all[i].Subject, _, _ = strings.Cut(commit.Message, "\n")
		all[i].Author = commit.Author.Name
	}
	if err := findGone(ctx, r, all, recorded, to.Snapshot); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Hotfix) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Since, b.Since), strings.Compare(string(a.Head), string(b.Head)))
	})
	return all, nil
}

// findGone looks for the hotfixes that are gone in the tree of the newer side.
func findGone(ctx context.Context, r gitrepo.Reader, all []Hotfix, recorded map[gitrepo.Hash]snapshot.Hotfix, in snapshot.Snapshot) error {
	var finder hotfix.Finder
	for i := range all {
		if !all[i].Gone {
			continue
		}
		if err := r.Fetch(ctx, []gitrepo.Hash{in.ID}, gitrepo.FetchOptions{Depth: 1}); err != nil {
			return fmt.Errorf("snapshot %s: %w", in.ID.Short(), err)
		}
		place := hotfix.Place{Name: in.Lock.Version.String(), Tree: in.Tree, Commit: in.Source}
		found, err := finder.Find(ctx, r, snapshot.Debt{Hotfix: recorded[all[i].Head]}, place)
		if err != nil {
			return err
		}
		all[i].Answer, all[i].Why = found.Answer, found.String()
	}
	return nil
}

func (n Notes) hotfixes(p *page) {
	if len(n.Hotfixes) == 0 {
		return
	}
	p.print("\n## Hotfixes\n\n")
	for _, h := range n.Hotfixes {
		gone := ""
		if h.Gone {
			gone = ", composed into the one before, and here " + Escape(h.Why)
		}
		p.print("- %s: %s (%s, %s, since %s%s)\n", Escape(h.Name), cmp.Or(Escape(h.Subject), "(no subject)"), cmp.Or(Escape(h.Author), "unknown"),
			code(h.Head.Short()), number(h.Since), gone)
	}
}
