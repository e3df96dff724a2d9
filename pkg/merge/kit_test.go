package merge_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

// files is a tree by slash path. A content may begin with a mode in brackets:
// "[x]" executable, "[l]" symlink, "[s]" submodule (then its id).
type files = gitrepotest.Files

// store is what a repository has fetched.
type store struct{ *gitrepo.Store }

func newStore() store { return store{gitrepo.NewStore()} }

var modes = map[string]gitrepo.Mode{"[x]": gitrepo.ModeExecutable, "[l]": gitrepo.ModeSymlink, "[s]": gitrepo.ModeSubmodule}

// tree puts a tree into the store.
func (s store) tree(t testing.TB, f files) gitrepo.Hash {
	t.Helper()
	dirs := map[string]files{}
	var tree gitrepo.Tree
	for path, content := range f {
		if dir, rest, deeper := strings.Cut(path, "/"); deeper {
			if dirs[dir] == nil {
				dirs[dir] = files{}
			}
			dirs[dir][rest] = content
			continue
		}
		e := gitrepo.Entry{Name: path, Mode: gitrepo.ModeFile}
		if len(content) >= 3 && modes[content[:3]] != "" {
			e.Mode, content = modes[content[:3]], content[3:]
		}
		blob := gitrepo.NewBlob([]byte(content))
		if e.ID = blob.ID(); e.Mode == gitrepo.ModeSubmodule {
			e.ID = gitrepo.Hash(content)
		} else {
			s.Put(blob)
		}
		tree = append(tree, e)
	}
	for dir, f := range dirs {
		tree = append(tree, gitrepo.Entry{Name: dir, Mode: gitrepo.ModeDir, ID: s.tree(t, f)})
	}
	o, err := gitrepo.NewTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	s.Put(o)
	return o.ID()
}

// read is the reverse of tree.
func (s store) read(t testing.TB, tree gitrepo.Hash) files {
	t.Helper()
	out := files{}
	entries, err := gitrepo.ReadTree(s, tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Mode {
		case gitrepo.ModeDir:
			below := s.read(t, e.ID)
			if len(below) == 0 {
				t.Errorf("tree %s has an empty directory %s", tree.Short(), e.Name)
			}
			for path, content := range below {
				out[e.Name+"/"+path] = content
			}
		case gitrepo.ModeSubmodule:
			out[e.Name] = "[s]" + string(e.ID)
		default:
			o, err := s.Object(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name] = string(o.Data)
			for prefix, mode := range modes {
				if mode == e.Mode {
					out[e.Name] = prefix + string(o.Data)
				}
			}
		}
	}
	return out
}

// with returns the files with some added, replaced or (content "-") removed.
func with(f files, change files) files {
	out := maps.Clone(f)
	for path, content := range change {
		if out[path] = content; content == "-" {
			delete(out, path)
		}
	}
	return out
}

// merged merges three trees, checks what holds for every merge, and puts the
// new objects into the store.
func (s store) merged(t testing.TB, base, ours, theirs gitrepo.Hash, o merge.Options) merge.Result {
	t.Helper()
	r, err := merge.Trees(s, base, ours, theirs, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := merge.Trees(s, base, ours, theirs, o)
	if err != nil || again.Tree != r.Tree || !slices.Equal(again.Changes, r.Changes) || len(again.Objects) != len(r.Objects) {
		t.Errorf("a second merge gives %v %v, the first gave %v", again, err, r)
	}
	for _, o := range r.Objects {
		if _, err := s.Object(o.ID()); err == nil {
			t.Errorf("object %s is in the result, but the reader has it", o.ID())
		}
		if o.Type == gitrepo.TypeTree { // children come first
			entries, err := gitrepo.ParseTree(o)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if _, err := s.Object(e.ID); err != nil && e.Mode != gitrepo.ModeSubmodule {
					t.Errorf("object %s comes before its child %s", o.ID(), e.Name)
				}
			}
		}
		s.Put(o)
	}
	if ours != "" && r.Empty() != (r.Clean() && r.Tree == ours) {
		t.Errorf("Empty() = %v for tree %s and ours %s", r.Empty(), r.Tree, ours)
	}
	conflicts := map[string]bool{}
	for _, c := range r.Conflicts {
		conflicts[c.Path] = true
		if line := c.String(); strings.Contains(line, "\n") || !strings.HasPrefix(line, c.Path+": ") {
			t.Errorf("conflict %q is not one line that begins with its path", line)
		}
	}
	for _, path := range r.Beside {
		if !conflicts[path] {
			t.Errorf("%s is beside a conflict that is not there", path)
		}
	}
	for _, c := range r.Changes {
		if conflicts[c.Path] {
			t.Errorf("%s has a conflict and is changed", c.Path)
		}
	}
	return r
}
