package gitrepo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Store is the set of objects that one Repo has fetched or pushed. It grows
// only: what was put in stays for the Store's life. The implementations of
// [Repo] use it to answer Object and to know whether a Fetch still needs the
// server. It is safe for concurrent use; the zero value is not usable.
type Store struct {
	mu      sync.Mutex
	objects map[Hash]Object
	commits map[Hash]storedCommit
	// whole has the trees of which everything below is here.
	whole map[Hash]bool
	// roots has the commits whose parents the server itself lacks.
	roots map[Hash]bool
}

// storedCommit is the part of a commit that walks need.
type storedCommit struct {
	tree    Hash
	parents []Hash
}

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{objects: map[Hash]Object{}, commits: map[Hash]storedCommit{}, whole: map[Hash]bool{}, roots: map[Hash]bool{}}
}

// Put adds objects. They must not be changed afterwards.
func (s *Store) Put(objects ...Object) {
	ids := make([]Hash, len(objects))
	for i, o := range objects {
		ids[i] = o.ID()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range objects {
		s.objects[ids[i]] = o
		if o.Type != TypeCommit {
			continue
		}
		// A commit that cannot be decoded is kept: reading it reports the fault.
		if c, err := ParseCommit(o); err == nil {
			kept := storedCommit{tree: keep(c.Tree), parents: make([]Hash, len(c.Parents))}
			for j, parent := range c.Parents {
				kept.parents[j] = keep(parent)
			}
			s.commits[ids[i]] = kept
		}
	}
}

// keep is a hash without the text that it was read from.
func keep(id Hash) Hash { return Hash(strings.Clone(string(id))) }

// SetRoots names commits that end the history because the server is itself a
// shallow clone and has nothing behind them.
func (s *Store) SetRoots(ids []Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.roots[id] = true
	}
}

// Object returns an object, [ErrNotFound] when it was never put in.
func (s *Store) Object(id Hash) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[id]
	if !ok {
		return Object{}, fmt.Errorf("object %s %w: it was not fetched", id.Short(), ErrNotFound)
	}
	return o, nil
}

// Covers reports whether everything that a Fetch of id with these options
// promises is here.
func (s *Store) Covers(id Hash, options FetchOptions) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.peel(id)
	if !ok {
		return false
	}
	switch s.objects[id].Type {
	case TypeBlob:
		return true
	case TypeTree:
		return s.isWhole(id)
	}
	seen := map[Hash]bool{id: true}
	for generation, depth := []Hash{id}, 1; len(generation) > 0; depth++ {
		var next []Hash
		for _, id := range generation {
			c, ok := s.commits[id]
			if !ok || !options.CommitsOnly && !s.isWhole(c.tree) {
				return false
			}
			if depth == options.Depth || s.roots[id] {
				continue
			}
			for _, p := range c.parents {
				if !seen[p] {
					seen[p] = true
					next = append(next, p)
				}
			}
		}
		generation = next
	}
	return true
}

// Edge describes what is here in the words of git's protocol: the commits to
// offer as "have", newest knowledge only, and the "shallow" commits whose
// parents are missing. Unless commitsOnly, a commit counts only with its
// complete tree, so a server that leaves out what we claim to have leaves out
// nothing we lack. Both lists are sorted.
func (s *Store) Edge(commitsOnly bool) (haves, shallow []Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[Hash]storedCommit, len(s.commits))
	for id, c := range s.commits {
		if commitsOnly || s.isWhole(c.tree) {
			known[id] = c
		}
	}
	inner := map[Hash]bool{}
	for id, c := range known {
		if s.roots[id] {
			continue
		}
		if slices.ContainsFunc(c.parents, func(p Hash) bool { _, ok := known[p]; return !ok }) {
			shallow = append(shallow, id)
			continue
		}
		for _, p := range c.parents {
			inner[p] = true
		}
	}
	for id := range known {
		if !inner[id] {
			haves = append(haves, id)
		}
	}
	slices.Sort(haves)
	slices.Sort(shallow)
	return haves, shallow
}

// peel follows annotated tags to what they name. The bound ends a chain that
// only an attacker would build.
func (s *Store) peel(id Hash) (Hash, bool) {
	for range 10 {
		o, ok := s.objects[id]
		if !ok || o.Type != TypeTag {
			return id, ok
		}
		t, err := ParseTag(o)
		if err != nil {
			return id, true
		}
		id = t.Object
	}
	return id, false
}

func (s *Store) isWhole(tree Hash) bool {
	if s.whole[tree] {
		return true
	}
	o, ok := s.objects[tree]
	if !ok {
		return false
	}
	entries, err := ParseTree(o)
	if err != nil {
		return true // fetching it again would not make it readable
	}
	if slices.ContainsFunc(entries, func(e Entry) bool { return !s.has(e) }) {
		return false
	}
	s.whole[tree] = true
	return true
}

// has reports whether a tree's entry is here with all below it.
func (s *Store) has(e Entry) bool {
	switch e.Mode {
	case ModeSubmodule:
		return true
	case ModeDir:
		return s.isWhole(e.ID)
	}
	_, ok := s.objects[e.ID]
	return ok
}
