package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
)

// Memory is a repository in memory that behaves like a server that allows
// fetching any commit, filters, atomic pushes and, on branches, fast-forwards
// only. What a Memory has fetched or pushed is its own, as in a real client;
// [Memory.Client] gives another client of the same repository.
type Memory struct {
	url    string
	server *memoryServer
	store  *Store
}

var _ Repo = (*Memory)(nil)

// memoryServer is the repository behind any number of clients.
type memoryServer struct {
	mu      sync.Mutex // guards all below
	objects map[Hash]Object
	refs    Refs
	reject  func(Push) error
	trips   int
}

// NewMemory returns an empty repository. The URL is only a name.
func NewMemory(url string) *Memory {
	return &Memory{url: url, store: NewStore(), server: &memoryServer{objects: map[Hash]Object{}, refs: Refs{}}}
}

// Client returns another client of the same repository, which has fetched
// nothing yet.
func (m *Memory) Client() *Memory {
	return &Memory{url: m.url, store: NewStore(), server: m.server}
}

// Reject installs a hook that sees every push of every client, after the
// compare-and-swap would have succeeded and before anything changes. Its error
// becomes [ErrRejected] with that text. Nil removes the hook.
func (m *Memory) Reject(hook func(Push) error) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	m.server.reject = hook
}

// Set moves a ref as somebody with all rights on the server can: anywhere, to
// anything, by no rule of a push. An empty id deletes it.
func (m *Memory) Set(ref string, id Hash) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	if id == "" {
		delete(m.server.refs, ref)
		return
	}
	m.server.refs[ref] = id
}

// RoundTrips counts the calls of all clients that reached the server.
func (m *Memory) RoundTrips() int {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	return m.server.trips
}

// URL implements [Reader].
func (m *Memory) URL() string { return m.url }

// Object implements [Reader].
func (m *Memory) Object(id Hash) (Object, error) {
	o, err := m.store.Object(id)
	if err != nil {
		return o, m.wrap(err)
	}
	return o, nil
}

// Refs implements [Reader].
func (m *Memory) Refs(ctx context.Context, prefixes ...string) (Refs, error) {
	if err := ctx.Err(); err != nil {
		return nil, m.wrap(err)
	}
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	m.server.trips++
	return m.server.refs.Filter(prefixes...), nil
}

// Fetch implements [Reader].
func (m *Memory) Fetch(ctx context.Context, ids []Hash, options FetchOptions) error {
	if err := ctx.Err(); err != nil {
		return m.wrap(err)
	}
	missing := false
	for _, id := range ids {
		missing = missing || !m.store.Covers(id, options)
	}
	if !missing {
		return nil
	}
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	m.server.trips++
	for _, id := range ids {
		if _, ok := m.server.objects[id]; !ok {
			return m.wrap(fmt.Errorf("object %s %w", id.Short(), ErrNotFound))
		}
	}
	var got []Object
	for _, id := range ids {
		got = m.server.collect(got, id, options)
	}
	m.store.Put(got...)
	return nil
}

// collect adds an object, what it contains and its history to the list, as far
// as the options want them.
func (s *memoryServer) collect(list []Object, id Hash, options FetchOptions) []Object {
	o := s.objects[id]
	for o.Type == TypeTag {
		list = append(list, o)
		tag, _ := ParseTag(o) // Push accepted it, so it can be decoded
		id, o = tag.Object, s.objects[tag.Object]
	}
	if o.Type != TypeCommit {
		return s.contents(list, id, map[Hash]bool{})
	}
	seen, done := map[Hash]bool{id: true}, map[Hash]bool{}
	for generation, depth := []Hash{id}, 1; len(generation) > 0; depth++ {
		var next []Hash
		for _, id := range generation {
			o := s.objects[id]
			c, _ := ParseCommit(o)
			list = append(list, o)
			if !options.CommitsOnly {
				list = s.contents(list, c.Tree, done)
			}
			if depth == options.Depth {
				continue
			}
			for _, p := range c.Parents {
				if !seen[p] {
					seen[p] = true
					next = append(next, p)
				}
			}
		}
		generation = next
	}
	return list
}

func (s *memoryServer) contents(list []Object, id Hash, done map[Hash]bool) []Object {
	if done[id] {
		return list
	}
	done[id] = true
	o := s.objects[id]
	list = append(list, o)
	if o.Type != TypeTree {
		return list
	}
	tree, _ := ParseTree(o)
	for _, e := range tree {
		if e.Mode != ModeSubmodule {
			list = s.contents(list, e.ID, done)
		}
	}
	return list
}

// Push implements [Writer].
func (m *Memory) Push(ctx context.Context, push Push) error {
	if err := ctx.Err(); err != nil {
		return m.wrap(err)
	}
	if err := push.Validate(); err != nil {
		return m.wrap(err)
	}
	if err := m.server.push(push); err != nil {
		return m.wrap(err)
	}
	m.store.Put(push.Objects...)
	return nil
}

func (s *memoryServer) push(push Push) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trips++
	if err := push.Check(s.refs); err != nil {
		return err
	}
	offered := make(map[Hash]Object, len(push.Objects))
	for _, o := range push.Objects {
		offered[o.ID()] = o
	}
	added := map[Hash]Object{}
	for _, u := range push.Updates {
		if err := s.connect(u.New, "", offered, added); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRejected, u.Ref, err)
		}
	}
	for _, u := range push.Updates {
		if err := s.branch(u, added); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRejected, u.Ref, err)
		}
	}
	if s.reject != nil {
		if err := s.reject(push); err != nil {
			return fmt.Errorf("%w: %w", ErrRejected, err)
		}
	}
	maps.Copy(s.objects, added)
	for _, u := range push.Updates {
		s.refs[u.Ref] = u.New
	}
	return nil
}

// connect moves from offered to added what id needs and the server lacks. What
// the server has is connected already, because that was checked when it came.
func (s *memoryServer) connect(id Hash, want Type, offered, added map[Hash]Object) error {
	o, known := s.objects[id]
	if !known {
		if o, known = added[id]; !known {
			var ok bool
			if o, ok = offered[id]; !ok {
				return fmt.Errorf("missing necessary object %s", id)
			}
		}
	}
	if want != "" && o.Type != want {
		return fmt.Errorf("object %s is a %s where a %s belongs", id.Short(), o.Type, want)
	}
	if known {
		return nil
	}
	added[id] = o
	switch o.Type {
	case TypeCommit:
		c, err := ParseCommit(o)
		if err != nil {
			return err
		}
		if err := s.connect(c.Tree, TypeTree, offered, added); err != nil {
			return err
		}
		for _, p := range c.Parents {
			if err := s.connect(p, TypeCommit, offered, added); err != nil {
				return err
			}
		}
	case TypeTag:
		t, err := ParseTag(o)
		if err != nil {
			return err
		}
		return s.connect(t.Object, t.Type, offered, added)
	case TypeTree:
		tree, err := ParseTree(o)
		if err != nil {
			return err
		}
		for _, e := range tree {
			switch e.Mode {
			case ModeSubmodule:
				continue
			case ModeDir:
				err = s.connect(e.ID, TypeTree, offered, added)
			default:
				err = s.connect(e.ID, TypeBlob, offered, added)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// branch applies the two rules that git has for branches: they name commits,
// and (receive.denyNonFastForwards) they move forward.
func (s *memoryServer) branch(u Update, added map[Hash]Object) error {
	if !strings.HasPrefix(u.Ref, Heads) {
		return nil
	}
	both := objectFunc(func(id Hash) (Object, error) {
		if o, ok := added[id]; ok {
			return o, nil
		}
		if o, ok := s.objects[id]; ok {
			return o, nil
		}
		return Object{}, ErrNotFound
	})
	if o, err := both(u.New); err != nil || o.Type != TypeCommit {
		return errors.New("a branch must name a commit")
	}
	if u.Old == "" {
		return nil
	}
	forward, err := IsAncestor(both, u.Old, u.New)
	if err == nil && !forward {
		err = errors.New("non-fast-forward")
	}
	return err
}

// objectFunc is one function as [Objects].
type objectFunc func(Hash) (Object, error)

func (f objectFunc) Object(id Hash) (Object, error) { return f(id) }

func (m *Memory) wrap(err error) error {
	return fmt.Errorf("git repository %s: %w", m.url, err)
}
